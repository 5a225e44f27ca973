"""Logs in with simple-salesforce every way it knows, then describes, queries and upserts, row by row and in bulk.
Prints what it found as JSON.

Settings come as JSON in the environment variable CLIENT. simple-salesforce always builds https URLs; an adapter of its
requests session sends them to the emulator instead, which leaves the package itself as it is.
"""

import base64
import csv
import io
import json
import os
from urllib.parse import urlsplit

import requests
from simple_salesforce import Salesforce, SalesforceLogin
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceOperationError

SETTINGS = json.loads(os.environ["CLIENT"])
URL = SETTINGS["url"]
CAMPAIGN = SETTINGS["campaign"]


class ToEmulator(requests.adapters.HTTPAdapter):
    def send(self, request, **kwargs):
        parts = urlsplit(request.url)
        request.url = URL + parts.path + ("?" + parts.query if parts.query else "")
        return super().send(request, **kwargs)


def session():
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", ToEmulator())
    return session


def logins():
    settings = SETTINGS
    credentials = {"consumer_key": settings["clientId"], "consumer_secret": settings["clientSecret"]}
    one = Salesforce(domain="emulator.my", session=session(), **credentials)
    two = Salesforce(
        username=settings["username"],
        consumer_key=settings["clientId"],
        privatekey=settings["privateKey"],
        domain="emulator.my",
        session=session(),
    )
    token, _ = SalesforceLogin(
        username=settings["username"],
        password=settings["password"],
        security_token="",
        scratch_url=URL,
        session=session(),
    )
    three = Salesforce(session_id=token, instance_url=URL, session=session())
    users = [sf.oauth2("userinfo")["preferred_username"] for sf in (one, two, three)]
    return one, users


def key(lead):
    return f"{CAMPAIGN}_{lead}"


sf, users = logins()
first, *others = SETTINGS["leads"]
described = sf.CampaignMember.describe()
external = next(field for field in described["fields"] if field["name"] == "external_id__c")

member = {"CampaignId": CAMPAIGN, "LeadId": first, "Status": "Responded"}
created = sf.CampaignMember.upsert(f"external_id__c/{key(first)}", member)
updated = sf.CampaignMember.upsert(f"external_id__c/{key(first)}", {"Status": "Sent"})
found = sf.CampaignMember.get_by_custom_id("external_id__c", key(first))

rows = [
    {
        "attributes": {"type": "CampaignMember"},
        "external_id__c": key(lead),
        "CampaignId": CAMPAIGN,
        "LeadId": lead,
    }
    for lead in others[:200]
]
path = "composite/sobjects/CampaignMember/external_id__c"
body = json.dumps({"allOrNone": False, "records": rows})
many = sf.restful(path, method="PATCH", data=body)
again = sf.restful(path, method="PATCH", data=body)

try:
    sf.CampaignMember.upsert(f"external_id__c/{key(first)}", {"Nope__c": 1})
    thrown = None
except SalesforceMalformedRequest as error:
    thrown = error.content[0]["errorCode"]

status = sf.CampaignMemberStatus.create({"CampaignId": CAMPAIGN, "Label": "Attended"})
changed = sf.CampaignMemberStatus.update(status["id"], {"HasResponded": True})
read = sf.CampaignMemberStatus.get(status["id"])
deleted = sf.CampaignMemberStatus.delete(status["id"])

queried = sf.query_all(f"SELECT Id, Status, Lead.Email FROM CampaignMember WHERE CampaignId = '{CAMPAIGN}'")
leads = sf.query_all("SELECT Id FROM Lead ORDER BY Id")


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


bulk = sf.bulk2.CampaignMember
changes = [{"external_id__c": key(lead), "Status": "Responded"} for lead in others[:200]]
changes.append({"external_id__c": "not a member", "Status": "Sent"})
job = bulk.upsert(records=changes, external_id_field="external_id__c", wait=0)[0]
results = bulk.get_all_ingest_records(job["job_id"])
answered = f"SELECT external_id__c, Lead.Email FROM CampaignMember WHERE CampaignId = '{CAMPAIGN}' AND HasResponded = true"
pages = [table(page) for page in bulk.query(answered, max_records=150, wait=0)]
try:
    bulk.insert(records=[{"Nope__c": "1"}], wait=0)
    failure = None
except SalesforceOperationError as error:
    failure = str(error)

package = io.BytesIO(base64.b64decode(SETTINGS["zip"]))
checked = sf.deploy(package, sandbox=True, checkOnly=True)
deployed = sf.deploy(package, sandbox=False)
deployments = [sf.checkDeployStatus(one["asyncId"]) for one in (checked, deployed)]
talk = sf.Talk__c.create({"Name": "One", "a__c": "x"})

print(
    json.dumps(
        {
            "deployed": [[one["state"], one["deployment_detail"]["deployed_count"]] for one in deployments],
            "talk": talk["success"],
            "bulk": {name: job[f"numberRecords{name}"] for name in ("Processed", "Failed", "Total")},
            "results": {name: len(rows) for name, rows in results.items()},
            "failed": results["failedRecords"][0]["sf__Error"],
            "pages": [len(page) for page in pages],
            "page": sorted(pages[0][0]),
            "failure": failure,
            "users": users,
            "external": {name: external[name] for name in ("externalId", "unique", "length")},
            "codes": [created, updated, changed, deleted],
            "status": found["Status"],
            "many": [[row["success"], row["created"]] for row in many],
            "again": again[0]["errors"],
            "thrown": thrown,
            "responded": read["HasResponded"],
            "total": queried["totalSize"],
            "leads": len(leads["records"]),
            "sandbox": sf.is_sandbox(),
            "objects": len(sf.describe()["sobjects"]),
            "limit": sf.limits()["DailyApiRequests"]["Max"],
            "usage": sf.api_usage["api-usage"].total,
        }
    )
)
