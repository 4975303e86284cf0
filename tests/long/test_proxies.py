# SPDX-License-Identifier: Apache-2.0
"""S-03: mutated streams through nginx, HAProxy and varnish, over connections that they share between callers. We answer
as many requests as were forwarded, and nobody gets an answer to a request that was not theirs."""
import itertools
import random
import re
import selectors
import socket
import time

import framing
import pytest
from proxies import PROXIES
from rows import answered, count, still
from test_limits import tiny
from test_tenants import SEED
from wire import get, raise_descriptor_limit
from world import running

AT_ONCE = 1000
ECHO = re.compile(rb"(?im)^x-request-id: (st-[^\r\n]*)\r$")
PIECES = (b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
          b"Connection: X-Request-Id\r\n", b"Connection: close\r\n", b"Connection: Content-Length\r\n", b"Host: y\r\n", b"0\r\n\r\n", b"5\r\nabcde\r\n", b"\xff",
          b"Expect: 100-continue\r\n", b"Transfer-Encoding:\x0bchunked\r\n", b"Upgrade: h2c\r\n", b"Content-Length: 40\r\n", b"\r\n\r\n", b"GET ", b"HTTP/1.1")


def stream(rng, n, vectors):
    """(bytes, the id of the canary that ends it)"""
    def one(k):
        text = get(rng.choice(("/v1/endpoints/kv", "/v1/endpoints/kv?limit=1", "/nowhere")), f"X-Request-Id: st-{n:08d}-{k}",
                   method=rng.choice(("GET", "GET", "GET", "HEAD", "POST")))
        return text if rng.random() < 0.5 else rng.choice(vectors).replace(b"Host: x", b"Host: x\r\nX-Request-Id: st-%08d-%d" % (n, k), 1)
    whole = bytearray(b"".join(one(k) for k in range(rng.randrange(1, 4))))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(whole))
        kind = rng.random()
        if kind < 0.6:
            whole[at:at] = rng.choice(PIECES)
        elif kind < 0.8:
            del whole[at:at + rng.randrange(1, 6)]
        else:
            whole[at] ^= 1 << rng.randrange(8)
    canary = f"st-{n:08d}-canary"
    return bytes(whole) + get("/v1/endpoints/kv?limit=1", f"X-Request-Id: {canary}"), canary.encode()


def send_all(port, batch):
    """What each stream got, until its canary is answered, it is closed, or 2.5 s have gone."""
    selector, got = selectors.DefaultSelector(), [bytearray() for _ in batch]
    for i, (data, _) in enumerate(batch):
        s = socket.create_connection(("127.0.0.1", port), timeout=10)
        s.setblocking(False)
        try:
            s.send(data)
        except OSError:
            pass
        selector.register(s, selectors.EVENT_READ, i)
    end, n_open = time.monotonic() + 2.5, len(batch)
    while n_open and time.monotonic() < end:
        for key, _ in selector.select(0.1):
            try:
                part = key.fileobj.recv(262144)
            except OSError:
                part = b""
            got[key.data] += part
            if not part or batch[key.data][1] in got[key.data]:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                n_open -= 1
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    selector.close()
    return got


@pytest.mark.parametrize("name", sorted(PROXIES))
def test_s03(tmp_path, name):
    raise_descriptor_limit()
    rng = random.Random(f"{SEED}-{name}")
    vectors = [v.replace(b"/healthz", b"/v1/endpoints/kv").replace(b"/he", b"/ve") for v in itertools.chain((v for _, v in framing.refused()), framing.accepted())
               if len(v) < 2000 and not v.startswith(b"OPTIONS") and b"%68" not in v]  # OPTIONS and /healthz are not counted in our metrics
    n, foreign, canaries, answers = 0, [], 0, 0
    with running(tiny(tmp_path).path, tmp_path / "cache") as s, PROXIES[name](tmp_path / name, s.api_port) as proxy:
        before, forwarded_before = answered(s), proxy.forwarded()
        while n < count(50000):
            batch = [stream(rng, n + i, vectors) for i in range(AT_ONCE)]
            n += AT_ONCE
            for (data, canary), got in zip(batch, send_all(proxy.port, batch)):
                ids = ECHO.findall(got)
                answers += len(ids)
                canaries += canary in ids
                foreign += [(data, got) for x in ids if x not in data]
        # What was given up by its caller ends, and varnish gathers its counters once a second.
        forwarded, ours = still(lambda: (proxy.forwarded(), answered(s) - before), 3, 1.5, "the last requests to end")
        least, most = (now - then for now, then in zip(forwarded, forwarded_before))
        assert s.get("/v1/endpoints/kv").status == 200
    print(f"S-03: {name}: {n} streams, {least}{'' if least == most else f' to {most}'} requests forwarded, {ours} answered, {answers} of them seen, {canaries} canaries, "
          f"{len(foreign)} answers of others, SEED={SEED}")
    assert not foreign, foreign[:2]
    assert least <= ours <= most and canaries > n / 10
