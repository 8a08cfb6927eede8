"""The bundled emulator as a process of this command's own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from uploader.config import Settings
from uploader.errors import BackendUnavailable

SERVICE: Final = "emulator"
"""Its identity in the journal: the port is another one each time."""

KEY: Final = "sk-emulator"


def emulated(settings: Settings, url: str) -> Settings:
    """The settings, with all services at the emulator at *url*."""
    origin = url.removesuffix("/v1")
    return replace(
        settings,
        base_url=url,
        api_key=KEY,
        service=SERVICE,
        azure=replace(settings.azure, endpoint=origin, api_key=KEY, ad_token=None),
        goapi=replace(settings.goapi, base_url=origin, api_key=KEY),
        llmprovider=replace(
            settings.llmprovider, base_url=f"{origin}/llmprovider/v1", api_key=KEY
        ),
    )


@contextlib.contextmanager
def running_emulator(directory: Path) -> Iterator[str]:
    """The base URL of an emulator that keeps its state in *directory*.

    It ends with this process, however that ends: its standard input closes then.
    """
    command = [sys.executable, "-m", "uploader.emulator", "--until-stdin-closes"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--dir", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # An interrupt at the terminal is this command's to handle: what is in flight
        # still needs its service.
        start_new_session=True,
    )
    with process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise BackendUnavailable(
                    f"the bundled emulator ended with {process.wait()}",
                    hint=f"its state is in {directory}; see its message above",
                )
            yield url
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.terminate()
