// fhir-kit-client and fhirclient against /fhir: node fhir.mjs BASE BUNDLE SUBJECT, with KEY and ADMIN in the environment.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { transparent } from "./transparency.mjs";
const require = createRequire(import.meta.url);
const [base, bundle, subject] = process.argv.slice(2);
const record = JSON.parse(readFileSync(bundle, "utf8"));

const { Client: Kit } = await import("fhir-kit-client");
const kit = new Kit({ baseUrl: base, bearerToken: process.env.KEY });
const capability = await kit.capabilityStatement();
assert.equal(capability.fhirVersion, "4.0.1");
assert.ok(capability.rest[0].resource.some((r) => r.type === "RiskAssessment"));
const answer = await kit.operation({ name: "predict", input: record, options: { headers: { "Content-Type": "application/fhir+json" } } });
assert.equal(answer.type, "collection");
const risk = answer.entry.map((e) => e.resource).find((r) => r.resourceType === "RiskAssessment");
assert.ok(risk.prediction[0].probabilityDecimal >= 0 && risk.prediction[0].probabilityDecimal <= 1);
assert.equal(risk.meta.security[0].code, "AIAST");
const checked = transparent(answer);
assert.ok(checked.devices === 1 && checked.provenances === 1, JSON.stringify(checked));
console.log(`    AI transparency: a device, a provenance and ${checked.confidences} confidences as its profiles have them`);
const found = await kit.search({ resourceType: "RiskAssessment", searchParams: { patient: subject } });
assert.equal(found.type, "searchset");
assert.equal(found.total, found.entry.length);
const device = await kit.read({ resourceType: "Device", id: found.entry[0].resource.performer.reference.split("/")[1] });
assert.equal(device.version[0].value, device.id);
const admin = new Kit({ baseUrl: base, bearerToken: process.env.ADMIN });
let page = await admin.search({ resourceType: "AuditEvent", searchParams: { _count: 2 } });
const seen = new Set();
for (let i = 0; page && i < 5; i++) {
  for (const e of page.entry) { assert.ok(!seen.has(e.resource.id)); seen.add(e.resource.id); }
  page = page.link.some((l) => l.relation === "next") ? await admin.nextPage({ bundle: page }) : null;
}
assert.ok(seen.size >= 4);
await assert.rejects(kit.search({ resourceType: "AuditEvent", searchParams: {} }), (e) => e.response.status === 403 && e.response.data.resourceType === "OperationOutcome");
console.log("    fhir-kit-client: capabilities, operation, search, read, pages, a refusal");

const Client = require("fhirclient/lib/Client").default;
const smart = new Client({}, { serverUrl: base, tokenResponse: { access_token: process.env.KEY } });
assert.equal((await smart.request("metadata")).resourceType, "CapabilityStatement");
const again = await smart.request({ url: "$predict", method: "POST", body: JSON.stringify(record), headers: { "content-type": "application/fhir+json" } });
assert.equal(again.entry.filter((e) => e.resource.resourceType === "RiskAssessment").length, answer.entry.filter((e) => e.resource.resourceType === "RiskAssessment").length);
const list = await smart.request(`RiskAssessment?patient=${subject}`, { flat: true });
assert.equal(list[0].resourceType, "RiskAssessment");
await assert.rejects(smart.request("RiskAssessment?patient=nobody"), /400|expected/);
console.log("    fhirclient: metadata, operation, search, a refusal");
