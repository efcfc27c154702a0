"""Memory of this process, as the system counts it."""

from __future__ import annotations

from pathlib import Path


def resident_bytes(field: str) -> int | None:
    """Read this process's memory from Linux: VmRSS (now) or VmHWM (peak); None on other systems."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)
