"""The program: `vinr`, and `python -m vinr_engine.cli`, for torchrun among others."""

from __future__ import annotations

import sys

from vinr_engine.cli import start_up

start_up.mind_signals()


def run() -> int:
    """See `main.main`; only for a process that does nothing else."""
    start_up.print_any_name()
    start_up.silence_pillow()
    start_up.sleep_while_waiting()
    start_up.share_memory_between_threads()
    from vinr_engine.cli import loading
    from vinr_engine.cli.main import main

    loading.own_process()
    try:
        return main()
    finally:
        start_up.leave_signals()


if __name__ == "__main__":
    sys.exit(run())
