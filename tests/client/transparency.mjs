// The rules of HL7's "AI Transparency on FHIR" (ballot 1.0.0, sources at commit 805d2a7 of HL7/aitransparency-ig: AIDevice, AIProvenance, AIconfidence,
// ProvenanceVS), written from its profiles, because neither npm nor Maven has its package for the validator.
import assert from "node:assert/strict";

const base = "http://hl7.org/fhir/uv/aitransparency/";
const types = `${base}CodeSystem/AIdeviceTypeCS`;
const ai = { coding: [{ system: types, code: "Artificial-Intelligence" }] };
const asserted = (c) => c.system === "http://terminology.hl7.org/CodeSystem/v3-ObservationValue" && c.code === "AIAST";
const claims = (r, profile) => r.meta?.profile?.includes(`${base}StructureDefinition/${profile}`);

function device(r) {
  assert.deepEqual(r.type, ai, "Device.type is that code exactly");
  const own = (r.extension ?? []).filter((x) => x.url.startsWith(base));
  for (const x of own) {
    assert.ok(["aitransparency.AIKind", "ModelCardDescription"].includes(x.url.slice(`${base}StructureDefinition/`.length)), x.url);
    if (!x.url.endsWith("AIKind")) continue;
    assert.deepEqual(Object.keys(x).filter((k) => k.startsWith("value")), ["valueCodeableConcept"]);
    for (const c of x.valueCodeableConcept.coding) assert.ok(c.system === types && c.code !== "Artificial-Intelligence");
  }
  assert.ok(own.length && r.identifier?.length && r.version?.length && r.deviceName?.length && r.modelNumber, "what must be supported and is known");
}

function provenance(r, find) {
  assert.ok(r.target.length >= 1 && r.recorded);
  assert.ok(r.reason.some((c) => c.coding.some(asserted)), "a reason that says AIAST");
  const agents = r.agent.filter((a) => a.role?.some((c) => c.coding.some((k) => k.system === types)));
  assert.ok(agents.length >= 1, "an agent in the role of an AI");
  for (const a of agents) {
    assert.deepEqual(a.role, [ai]);
    assert.ok(a.type, "how the AI was used");
    device(find(a.who.reference));
  }
  for (const t of r.target) assert.ok(find(t.reference).meta.security.some(asserted), "what it made bears the label");
  for (const e of r.entity ?? []) assert.ok(e.what && (e.role !== "derivation" || e.what.reference), "a derivation is of a model card or a prompt");
}

function confidences(v) {
  let n = 0;
  if (v && typeof v === "object") {
    if (v.url === `${base}StructureDefinition/AIconfidence`) {
      const values = Object.keys(v).filter((k) => k.startsWith("value"));
      assert.equal(values.length, 1);
      assert.ok(["valueDecimal", "valueQuantity", "valueRange", "valueCodeableConcept", "valueString"].includes(values[0]));
      if (v.valueDecimal !== undefined) assert.ok(v.valueDecimal >= 0 && v.valueDecimal <= 1);
      if (v.valueRange) assert.ok(v.valueRange.low.value <= v.valueRange.high.value);
      n++;
    }
    for (const child of Object.values(v)) n += confidences(child);
  }
  return n;
}

// Counts of what was checked in a Bundle's entries.
export function transparent(bundle) {
  const find = (reference) => {
    const hit = bundle.entry.find((e) => e.fullUrl === reference || `${e.resource.resourceType}/${e.resource.id}` === reference);
    assert.ok(hit, `${reference} is in the bundle`);
    return hit.resource;
  };
  const all = bundle.entry.map((e) => e.resource);
  const devices = all.filter((r) => claims(r, "AI-Device")), provenances = all.filter((r) => claims(r, "AI-Provenance"));
  devices.forEach(device);
  provenances.forEach((r) => provenance(r, find));
  for (const r of all.filter((x) => ["RiskAssessment", "GuidanceResponse"].includes(x.resourceType))) assert.ok(r.meta.security.some(asserted), r.resourceType);
  return { devices: devices.length, provenances: provenances.length, confidences: confidences(bundle) };
}
