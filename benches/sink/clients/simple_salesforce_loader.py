"""Upserts the rows that come on stdin with simple-salesforce's bulk2, a list a line; says on stdout which are written.
All that came while a job was under way goes with the next one.

Settings come as JSON in the environment variable CLIENT. simple-salesforce always builds https URLs; an adapter of its
requests session sends them to the emulator instead, which leaves the package itself as it is.
"""

import json
import os
import queue
import sys
import threading
from urllib.parse import urlsplit

import requests
from simple_salesforce import Salesforce

SETTINGS = json.loads(os.environ["CLIENT"])
URL = SETTINGS["url"]


class ToEmulator(requests.adapters.HTTPAdapter):
    def send(self, request, **kwargs):
        parts = urlsplit(request.url)
        request.url = URL + parts.path + ("?" + parts.query if parts.query else "")
        return super().send(request, **kwargs)


def log_in():
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", ToEmulator())
    key, secret = SETTINGS["clientId"], SETTINGS["clientSecret"]
    return Salesforce(domain="emulator.my", session=session, consumer_key=key, consumer_secret=secret)


def read(lines):
    for line in sys.stdin:
        lines.put(json.loads(line))
    lines.put(None)


def batches():
    """All rows that are there, once there are some; ends with stdin."""
    lines = queue.SimpleQueue()
    threading.Thread(target=read, args=(lines,), daemon=True).start()
    while (rows := lines.get()) is not None:
        while not lines.empty():
            more = lines.get()
            if more is None:
                return
            rows += more
        if rows:
            yield rows


bulk = log_in().bulk2.CampaignMember
# Nothing is written, and rows are taken.
print("[]", flush=True)
for rows in batches():
    # Its own default waits five seconds before it looks whether the job is done; so it looks at once, then ever later.
    for job in bulk.upsert(records=rows, external_id_field="external_id__c", wait=0):
        if job["numberRecordsFailed"] or job["numberRecordsProcessed"] != job["numberRecordsTotal"]:
            raise SystemExit(f"rows were refused: {job}")
    print(json.dumps([row["external_id__c"] for row in rows]), flush=True)
