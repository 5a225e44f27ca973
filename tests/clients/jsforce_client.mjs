// Logs in with jsforce every way it knows, then describes, queries and upserts, row by row and in bulk. Prints what it
// found as JSON.
// Settings come as JSON in the environment variable CLIENT.
import crypto from "node:crypto";
import jsforce from "jsforce";

const { url, clientId, clientSecret, username, password, privateKey, campaign, leads, zip } = JSON.parse(process.env.CLIENT);

function connection() {
  return new jsforce.Connection({ loginUrl: url, instanceUrl: url, oauth2: { loginUrl: url, clientId, clientSecret } });
}

function assertion() {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const claims = { iss: clientId, sub: username, aud: url, exp: Math.floor(Date.now() / 1000) + 60 };
  const signed = `${encode({ alg: "RS256" })}.${encode(claims)}`;
  return `${signed}.${crypto.sign("sha256", Buffer.from(signed), privateKey).toString("base64url")}`;
}

async function logins() {
  const credentials = connection();
  await credentials.authorize({ grant_type: "client_credentials" });
  const bearer = connection();
  await bearer.authorize({ grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion: assertion() });
  const soap = new jsforce.Connection({ loginUrl: url });
  await soap.login(username, password);
  const identities = await Promise.all([credentials, bearer, soap].map((one) => one.identity()));
  return { connection: credentials, users: identities.map((identity) => identity.username) };
}

const { connection: conn, users } = await logins();
const member = conn.sobject("CampaignMember");
const key = (lead) => `${campaign}_${lead}`;

const described = await member.describe();
const external = described.fields.find((field) => field.name === "external_id__c");

const [first, ...others] = leads;
const fields = { CampaignId: campaign, LeadId: first, Status: "Responded", external_id__c: key(first) };
const one = await member.upsert(fields, "external_id__c");

const rows = others.map((lead) => ({ CampaignId: campaign, LeadId: lead, external_id__c: key(lead) }));
const many = await member.upsert(rows, "external_id__c", { allowRecursive: true });
const again = await member.upsert({ Status: "Responded", external_id__c: key(others[0]) }, "external_id__c");
const refused = await member.upsert([rows[0]], "external_id__c", { allOrNone: false });

let thrown;
try {
  await member.upsert({ Nope__c: 1, external_id__c: key(first) }, "external_id__c");
} catch (error) {
  thrown = error.errorCode;
}

const queried = await conn.query(`SELECT Id, Status, Lead.Email FROM CampaignMember WHERE CampaignId = '${campaign}'`);
const all = await conn.query("SELECT Id FROM Lead ORDER BY Id", { autoFetch: true, maxFetch: 10000 });
const retrieved = await member.retrieve([one.id, many[0].id]);
const composite = await conn.request({
  method: "POST",
  url: "/composite",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({
    compositeRequest: [{ method: "GET", url: `/services/data/v${conn.version}/sobjects`, referenceId: "sobjects" }],
  }),
});
const options = { rollbackOnError: true, singlePackage: true };
conn.metadata.pollInterval = 100;
const checked = await conn.metadata.deployRest(Buffer.from(zip, "base64"), { ...options, checkOnly: true }).complete();
const deployed = await conn.metadata.deploy(Buffer.from(zip, "base64"), options).complete(true);
const talk = await conn.sobject("Talk__c").create({ Name: "One", a__c: "x" });

conn.bulk2.pollInterval = 10;
const changes = others.map((lead) => ({ external_id__c: key(lead), Status: "Responded" }));
const job = { object: "CampaignMember", operation: "upsert", externalIdFieldName: "external_id__c" };
const bulk = await conn.bulk2.loadAndWaitForResults({
  ...job, input: [...changes, { external_id__c: "not a member", Status: "Sent" }],
});
const empty = await conn.bulk2.loadAndWaitForResults({ object: "Lead", operation: "insert", input: [] });
let failure;
try {
  await conn.bulk2.loadAndWaitForResults({ ...job, input: [{ external_id__c: "x", Nope__c: 1 }] });
} catch (error) {
  failure = error.message;
}
const answered = `SELECT external_id__c, Lead.Email FROM CampaignMember WHERE CampaignId = '${campaign}' AND HasResponded = true`;
const rowsOfQuery = await (await conn.bulk2.query(answered)).toArray();

// Logging out clears it.
const usage = conn.limitInfo.apiUsage;
await conn.logout();

console.log(JSON.stringify({
  users,
  external: { externalId: external.externalId, unique: external.unique, length: external.length },
  one,
  many: many.map((row) => [row.success, row.created]),
  again: again.created,
  refused: refused[0].errors,
  thrown,
  total: queried.totalSize,
  record: queried.records.find((record) => record.Id === one.id),
  leads: all.records.length,
  retrieved: retrieved.map((record) => record.external_id__c),
  composite: composite.compositeResponse[0].httpStatusCode,
  checked: [checked.success, checked.checkOnly],
  deployed: [deployed.success, deployed.details.componentSuccesses.length],
  talk: talk.success,
  usage,
  bulk: Object.fromEntries(Object.entries(bulk).map(([name, list]) => [name, list.length])),
  bulkFailed: bulk.failedResults[0].sf__Error,
  bulkCreated: bulk.successfulResults[0].sf__Created,
  empty: Object.values(empty).map((list) => list.length),
  failure,
  answered: rowsOfQuery.length,
  answeredColumns: Object.keys(rowsOfQuery[0]),
}));
