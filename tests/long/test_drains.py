# SPDX-License-Identifier: Apache-2.0
"""R-09: SIGTERM with requests in flight, idle, half-sent, stalled."""
from rows import again, count


def test_r09():
    for _ in range(count(20)):
        again("test_daemon.py", "drain")
    print(f"R-09: {count(20)} times 5 drains")
