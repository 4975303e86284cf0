# SPDX-License-Identifier: Apache-2.0
"""The whole-program fixtures of tests/e2e, on build/offloader-fault, with a control page."""
import importlib.util
import os

import pytest

from control import Control

HERE = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location(
    "whole_program", os.path.join(HERE, "..", "e2e", "conftest.py"))
whole_program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(whole_program)
whole_program.Server.__init__.__defaults__ = (None, whole_program.BIN + "-fault")

serve = whole_program.serve
project = whole_program.project


@pytest.fixture
def control(tmp_path):
    page = Control(tmp_path / "control")
    yield page
    page.close()
