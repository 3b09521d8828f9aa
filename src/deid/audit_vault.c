/* Everything that the vault knows of everybody goes into the search. */
#include "base/time.h"
#include "deid/audit_search.h"
#include "deid/vault_rows.h"

static int take_one(void *ctx, int64_t pseudonym, const struct vault_identifier *id, struct error *e) {
  return audit_search_add(ctx, pseudonym, id, e);
}

int audit_search_vault(struct audit_search *s, const struct vault *v, struct error *e) {
  for (uint32_t i = 0; i < v->row_n; i++) {
    const struct identity *id = vault_identity(v, i);
    if (id->flags & IDENTITY_ERASED) continue;
    TRY(audit_search_days(s, id->pseudonym, id->birth, id->first, id->last, e));
    if (id->flags & IDENTITY_CAPPED || id->birth_precision < TIME_PRECISION_DAY) audit_search_birth_remade(s, id->pseudonym);
  }
  for (uint32_t i = 0; i < v->keys.n; i++) {
    const struct vault_entry *x = vault_entry(&v->keys, i);
    if (x->person == VAULT_NOBODY) continue;
    TRY(audit_search_key(s, vault_identity(v, x->person)->pseudonym, vault_text(v, x).value, e));
  }
  return vault_all_identifiers(v, take_one, s, e);
}
