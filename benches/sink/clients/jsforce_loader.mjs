// Upserts the rows that come on stdin with jsforce, a list a line; says on stdout which are written.
// All that came while an upsert was under way goes with the next one.
// Settings come as JSON in the environment variable CLIENT.
import readline from "node:readline";
import jsforce from "jsforce";

const { url, clientId, clientSecret } = JSON.parse(process.env.CLIENT);
const conn = new jsforce.Connection({ loginUrl: url, instanceUrl: url, oauth2: { loginUrl: url, clientId, clientSecret } });
await conn.authorize({ grant_type: "client_credentials" });
const member = conn.sobject("CampaignMember");

let come = [];
let loading = false;

async function load() {
  loading = true;
  while (come.length > 0) {
    const rows = come;
    come = [];
    const results = await member.upsert(rows, "external_id__c", { allowRecursive: true });
    const refused = results.find((result) => !result.success);
    if (refused) throw new Error(JSON.stringify(refused.errors));
    console.log(JSON.stringify(rows.map((row) => row.external_id__c)));
  }
  loading = false;
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  come = come.concat(JSON.parse(line));
  if (!loading) load();
});
// Nothing is written, and rows are taken.
console.log("[]");
