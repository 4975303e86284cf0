# SPDX-License-Identifier: Apache-2.0
"""S-02, S-07, S-08, S-16 at length. S-03 and S-05 have files of their own."""
import itertools
import os
import random
import time

from rows import SHARE, again, count
from test_tenants import SEED
from wire import Wire, get
from world import World, running


def test_s02():
    """All splits of all vectors."""
    again("test_http_framing.py", "split", **({"S02_ALL": "1"} if SHARE >= 1 else {}))


def test_s07():
    again("test_tenants.py", "foreign_cell", S07_ANSWERS=str(count(5000000)))


def area_under_curve(ones, twos):
    """The chance that one of @ones is above one of @twos; ties count half."""
    ordered = sorted([(v, 0) for v in ones] + [(v, 1) for v in twos])
    rank_sum, at = 0.0, 0
    while at < len(ordered):
        end = at
        while end < len(ordered) and ordered[end][0] == ordered[at][0]:
            end += 1
        rank_sum += sum((at + end + 1) / 2 for i in range(at, end) if ordered[i][1] == 0)
        at = end
    return (rank_sum - len(ones) * (len(ones) + 1) / 2) / (len(ones) * len(twos))


def secret_world(base):
    w = World(base / "project", "required")
    w.dataset("d", [("id", "VARCHAR"), ("v", "BIGINT")])
    w.publish("d", "s1", [(f"i{n}", n) for n in range(500)])
    for name in ("open", "hidden", "second", "a_third"):
        w.endpoint(name, "d", params=[{"name": "id", "type": "string"}], filters=[("id", "eq", "id")], cache={"policy": "snapshot"})
    w.keys([{"id": "b", "token": "token-b", "endpoints": ["open"]}])
    return w


def test_s08(tmp_path):
    """Endpoints that are there but not for this key, against names of the same length that are nowhere; in random order."""
    pairs, rng = count(100000), random.Random(SEED)
    there, nowhere = ("hidden", "second", "a_third"), ("hiddem", "secomd", "a_thirt")
    times = ([], [])
    with running(secret_world(tmp_path).path, tmp_path / "cache") as s:
        requests = [[get(f"/v1/endpoints/{name}", "X-Request-Id: timing-0001", key="token-b") for name in names] for names in (there, nowhere)]
        at = 0
        while at < pairs:
            with Wire(s.api_port) as wire:
                for _ in range(4000):
                    for which in rng.choice(((0, 1), (1, 0))):
                        began = time.perf_counter_ns()
                        wire.send(requests[which][at % 3])
                        reply = wire.read()
                        times[which].append(time.perf_counter_ns() - began)
                        assert reply.status == 404
                    at += 1
    area = area_under_curve(*times)
    medians = [sorted(t)[len(t) // 2] / 1000 for t in times]
    print(f"S-08: {at} pairs, AUC {area:.4f} (0.5 +- 0.01), medians {medians[0]:.2f} and {medians[1]:.2f} us, SEED={SEED}")


def colliding():
    """Texts that collide, all of them, under the common hash functions that multiply by 31 ("Aa", "BB") or by 33 ("Ez", "FY")."""
    for a, b in (("Aa", "BB"), ("Ez", "FY")):
        for parts in itertools.product((a, b), repeat=19):
            yield "".join(parts)


def plain(rng):
    while True:
        yield "".join(rng.choices("ABEFYaz", k=38))


def cpu_s(s):
    return sum(int(open(f"/proc/{s.process.pid}/task/{t}/schedstat", encoding="ascii").read().split()[0])
               for t in os.listdir(f"/proc/{s.process.pid}/task")) / 1e9


def test_s16(tmp_path):
    """Values, names of params and tokens that collide, in slices that alternate with others of the same length."""
    slices = count(100)
    each = 5000
    rng, bad, good = random.Random(SEED), itertools.cycle(colliding()), plain(random.Random(SEED))
    kinds = {
        "values": lambda text: get(f"/v1/endpoints/open?id={text}", key="token-b"),
        "names": lambda text: get(f"/v1/endpoints/open?{text}=1&{text[::-1]}=2", key="token-b"),
        "tokens": lambda text: get("/v1/endpoints/open", key=text),
    }
    spent, total, statuses = {(k, c): 0.0 for k in kinds for c in (0, 1)}, 0, {}
    with running(secret_world(tmp_path).path, tmp_path / "cache") as s:
        for _ in range(slices):
            for kind, make in kinds.items():
                for which in rng.choice(((0, 1), (1, 0))):
                    texts = itertools.islice((good, bad)[which], each if kind == "values" else each // 2)
                    batch = [make(t) for t in texts]
                    before = cpu_s(s)
                    with Wire(s.api_port) as wire:
                        for at in range(0, len(batch), 250):
                            for r in wire.ask(batch[at:at + 250]):
                                statuses[kind, r.status] = statuses.get((kind, r.status), 0) + 1
                    spent[kind, which] += cpu_s(s) - before
                    total += len(batch) if which else 0
    ratios = ", ".join(f"{k} {spent[k, 1] / spent[k, 0]:.3f}" for k in kinds)
    print(f"S-16: {total} colliding requests and as many others: server CPU {ratios} x (within 10 %), {statuses}, SEED={SEED}")
    assert {k for k in statuses} == {("values", 200), ("names", 422), ("tokens", 401)}, statuses
