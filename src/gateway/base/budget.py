"""Calendar periods of budgets, in UTC."""

from __future__ import annotations

import datetime as dt

from gateway.base.snapshot import Period

_NEVER_S = 1 << 62


def period_at(per: Period, unix_s: float) -> tuple[int, int, int]:
    """The period of kind `per` in which `unix_s` lies: (its number, Unix second of its begin, of its end).

    The number never repeats between periods of one kind: a day is 20261123, a week that of its Monday, a month 202611.
    """
    now = dt.datetime.fromtimestamp(unix_s, dt.UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    match per:
        case "day":
            begin, end = day, day + dt.timedelta(days=1)
        case "week":
            begin = day - dt.timedelta(days=day.weekday())
            end = begin + dt.timedelta(days=7)
        case "month":
            begin = day.replace(day=1)
            end = (begin + dt.timedelta(days=31)).replace(day=1)
            return begin.year * 100 + begin.month, int(begin.timestamp()), int(end.timestamp())
        case "total":
            return 1, 0, _NEVER_S
    return begin.year * 10_000 + begin.month * 100 + begin.day, int(begin.timestamp()), int(end.timestamp())
