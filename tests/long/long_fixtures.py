# SPDX-License-Identifier: Apache-2.0
"""The fixtures of tests/e2e, as a plugin (tools/run-long)."""
from conftest import example, project, serve  # noqa: F401
