/* Keeps a structured case closed and reveals what is asked: nothing else passes from the case to whoever diagnoses.
 *
 *     struct gatekeeper g;  TRY(gatekeeper_open(k, case_json, &arena, &g, e));
 *     g.opening …                                      // who comes, with which complaint
 *     struct str answer = g.answer[action];            // everything on record under that action; STR_NONE = nothing on record
 *     bool right = gatekeeper_judge(k, &g, diagnosis);
 *
 * A case (the shape of AgentClinic's OSCE files, Schmidgall et al. 2024; {"OSCE_Examination": …} or what is in it):
 *     {"Objective_for_Doctor": "…", "Patient_Actor": {"Demographics": "…", "History": "…", "Symptoms": {"Primary_Symptom": "…", …}, …},
 *      "Physical_Examination_Findings": {…}, "Test_Results": {…}, "Correct_Diagnosis": "…"}      // nested objects, lists, texts, numbers, truth values
 * The opening is the objective, demographics and primary symptom. Every other entry belongs to one action: on the way down to it, the first name
 * that has an action's key as whole words (the longest key wins; keys of generic actions last); an entry that no key fits belongs to the generic
 * action of its part. true reads "present", false "absent". `unplaced` counts entries that no action can reveal. Strings are valid as long as the arena. Errors: E_INPUT.
 */
#ifndef REASON_GATEKEEPER_H
#define REASON_GATEKEEPER_H
#include "reason/sequential.h"

struct gatekeeper {
  struct str opening;
  struct str answer[SEQUENTIAL_ACTIONS];
  struct str truth; /* STR_NONE where the case does not say */
  int unplaced;
};
int gatekeeper_open(const struct sequential *k, struct json root, struct arena *a, struct gatekeeper *out, struct error *e) MUST_CHECK;
bool gatekeeper_judge(const struct sequential *k, const struct gatekeeper *g, int disease);
#endif
