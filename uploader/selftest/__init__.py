"""What `uploader` promises, tried on this machine against the bundled emulator."""

from uploader.selftest.chaos import chaos_check
from uploader.selftest.durability import DURABILITY
from uploader.selftest.killing import killing_check
from uploader.selftest.report import Check, run_all
from uploader.selftest.streaming import streaming_check

__all__ = ["CHECKS", "Check", "chaos_check", "run_all"]

CHECKS = (DURABILITY, killing_check(), streaming_check())
"""The journal first: where it cannot be kept, nothing else means anything."""
