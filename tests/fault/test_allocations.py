# SPDX-License-Identifier: Apache-2.0
"""Design 3: a request allocates nothing, neither we nor a library, once the server is warm."""
import http.client

import pytest

REQUESTS = 500


@pytest.mark.parametrize("what", ["store", "cached", "not modified", "not found", "refused param"])
def test_no_allocation_per_request(what, serve, project, control):
    p = project(extra_endpoint="cache: { policy: snapshot }\n" if what == "cached" else "")
    p.publish("s1", [(f"row{i}", i) for i in range(50)])
    server = serve(p.path, OFFLOADER_HTTP_THREADS="1", **control.env)
    path, status, headers = "/v1/endpoints/kv?id=row7", 200, {}
    if what == "not modified":
        headers, status = {"If-None-Match": server.get(path).headers["etag"]}, 304
    elif what == "not found":
        path, status = "/v1/endpoints/nothing", 404
    elif what == "refused param":
        path, status = "/v1/endpoints/kv?other=1", 422
    connection = http.client.HTTPConnection("127.0.0.1", server.api_port, timeout=30)

    def send(count):
        for _ in range(count):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status

    send(100)
    before = control.calls("heap")
    send(REQUESTS)
    made = control.calls("heap") - before
    connection.close()
    print(f"{what}: {made} allocations in {REQUESTS} requests")
    assert made < REQUESTS / 20, "what is left is the housekeeping's"
