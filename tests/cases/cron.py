"""Prints the rows of cron.json: due times of two years by an independent implementation, cronsim.

After a change of the expressions, the zones or the server's time-zone database, run
`pip install cronsim tzdata` and `PYTHONTZPATH= python3 tests/cases/cron.py > tests/cases/cron.json`.
Both sides must have the same version of the time-zone database.
"""

import hashlib
import json
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from cronsim import CronSim

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "America/Havana",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Pacific/Chatham",
]
EXPRESSIONS = [
    "30 2 * * *",
    "0,15,30,45 1,2,3 * * *",
    "*/20 * * * *",
    "15 */3 * * *",
    "5 1-3 * * sun",
    "0 0 1,15 * fri",
    "0 12 */2 * mon",
    "59 23 31 * *",
    "0 3 29 2 *",
    "10 0-23 * mar,oct,apr *",
]
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
END = datetime(2028, 1, 1, tzinfo=timezone.utc)


def due_times(expression, zone):
    local = BEGIN.astimezone(ZoneInfo(zone))
    for due in CronSim(expression, local):
        at = due.astimezone(timezone.utc)
        if at >= END:
            return
        yield int(at.timestamp())


rows = []
for zone in ZONES:
    for expression in EXPRESSIONS:
        times = list(due_times(expression, zone))
        text = "".join(f"{time}\n" for time in times)
        digest = hashlib.sha256(text.encode()).hexdigest()
        rows.append({"zone": zone, "cron": expression, "count": len(times), "sha256": digest})
print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")
