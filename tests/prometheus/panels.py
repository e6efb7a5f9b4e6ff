"""Runs every query of the dashboard on a real Prometheus, until each returns data.

panels.py DASHBOARD PROMETHEUS SECONDS"""

import json
import math
import sys
import time
import urllib.parse
import urllib.request

dashboard, prometheus, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
# As Grafana fills them in with "All" chosen; the interval fits the test's short scrapes.
variables = {"$job": ".*", "$instance": ".*", "$__rate_interval": "20s"}


def samples(expression):
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{query}") as answer:
        result = json.load(answer)["data"]["result"]
    values = [float(sample["value"][1]) for sample in result]
    return [value for value in values if not math.isnan(value)]


def filled(text):
    for name, value in variables.items():
        text = text.replace(name, value)
    if "$" in text:
        sys.exit(f"a variable that this test does not know: {text}")
    return text


with open(dashboard, encoding="utf-8") as file:
    board = json.load(file)
queries = [
    (panel["title"], filled(target["expr"]))
    for panel in board["panels"]
    for target in panel.get("targets", [])
]
ends = time.monotonic() + seconds
missing = queries
while missing and time.monotonic() < ends:
    missing = [(title, query) for title, query in missing if not samples(query)]
    time.sleep(0.5)
for title, query in missing:
    print(f"no data for the panel {title}: {query}", file=sys.stderr)
for variable in board["templating"]["list"]:
    if variable["type"] != "query":
        continue
    text = filled(variable["query"]["query"])
    series, label = text.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
    match = urllib.parse.urlencode({"match[]": series})
    with urllib.request.urlopen(f"{prometheus}/api/v1/label/{label}/values?{match}") as answer:
        if not json.load(answer)["data"]:
            sys.exit(f"no value for the variable {variable['name']}: {text}")
if missing or len(queries) < 20:
    sys.exit(f"{len(missing)} of {len(queries)} queries returned no data")
print(f"ok: all {len(queries)} queries of the panels returned data")
