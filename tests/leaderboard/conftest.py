"""Makes `tests.leaderboard.synthetic` importable however pytest is started."""

from __future__ import annotations

import sys
from pathlib import Path

if (root := str(Path(__file__).parents[2])) not in sys.path:
    sys.path.append(root)
