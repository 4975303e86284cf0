# SPDX-License-Identifier: Apache-2.0
"""A disk that is slow to sync delays the action that waits for it, and nobody else. Each fsync of a
refresh and of a rollback is held in turn; while it lasts, everything else must answer."""
import json
import threading

from conftest import whole_program

ACTIONS = ("refresh", "rollback")


class World:
    def __init__(self, serve, project, control):
        self.control, self.number = control, 0
        self.project = project()
        for kind in ("datasets", "endpoints"):
            text = (self.project.path / kind / "kv.yml").read_text()
            (self.project.path / kind / "other.yml").write_text(
                text.replace("manifest.json", "other.json").replace("kv", "other"))
        self.publish()
        self.server = serve(self.project.path, **control.env)

    def publish(self):
        """A new snapshot of both."""
        self.number += 1
        self.project.publish(f"s{self.number}", [("a", self.number)])
        data = self.project.path / "data"
        (data / "other.json").write_text(
            json.dumps({**json.loads((data / "manifest.json").read_text()), "dataset_id": "other"}))

    def act(self, action):
        """A refresh that swaps, or a rollback of one; keyed, so that its record is written too."""
        self.publish()
        if action == "rollback":
            assert self.server.post("/datasets/kv/refresh").status == 200
        return lambda: self.server.post(f"/datasets/kv/{action}", headers={"Idempotency-Key": f"k{self.number}"})

    def everything_else_answers(self):
        for path in ("/live", "/ready", "/status", "/metrics"):
            assert self.server.admin(path).status == 200, path
        assert self.server.dataset("kv")
        for name in ("kv", "other"):
            assert self.server.get(f"/v1/endpoints/{name}").status == 200
        answer = self.server.post("/datasets/other/refresh")
        assert answer.status == 200 and answer.json["snapshot_id"] == f"s{self.number}", answer.body


def test_an_fsync_that_lasts_holds_up_nobody_else(serve, project, control):
    world = World(serve, project, control)
    held = dict.fromkeys(ACTIONS, 0)
    for action in ACTIONS:
        act = world.act(action)
        before = control.calls("fsync")
        assert act().status == 200
        n = control.calls("fsync") - before
        for nth in range(1, n + 1):
            act, answers = world.act(action), []
            control.hold("fsync", nth)
            caller = threading.Thread(target=lambda: answers.append(act()))
            caller.start()
            try:
                whole_program.wait_for(lambda: control.holds, f"fsync {nth} of {n} of a {action}")
                world.everything_else_answers()
                assert not answers, "it was answered before it was on disk"
                held[action] += 1
            finally:
                control.clear()
                caller.join()
            assert answers[0].status == 200, answers[0].body
    print(f"held: {held}")
    assert held["refresh"] >= 4 and held["rollback"] >= 2
