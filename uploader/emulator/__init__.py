"""The services on loopback: strict, and failing on command.

An independent reading of the contracts; it imports nothing of the house.
"""

from uploader.emulator.account import Account, Reception, Remark, Request
from uploader.emulator.faults import BadFault, Fault
from uploader.emulator.process import CannotStart, serve
from uploader.emulator.server import Emulator, read_account
from uploader.emulator.switches import BadSwitch, Switches

__all__ = [
    "Account",
    "BadFault",
    "BadSwitch",
    "CannotStart",
    "Emulator",
    "Fault",
    "Reception",
    "Remark",
    "Request",
    "Switches",
    "read_account",
    "serve",
]
