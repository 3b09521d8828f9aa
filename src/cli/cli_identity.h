/* The site's identity.json, and opening the site's vault with what it says.
 *
 *     TRY(cli_vault(c, &site, &v, e));   // --passphrase-file, identity.json
 */
#ifndef CLI_CLI_IDENTITY_H
#define CLI_CLI_IDENTITY_H
#include "base/error.h"

struct cli;
struct site;
struct vault;
int cli_identity_init(const struct site *s, struct error *e) MUST_CHECK; /* an empty one that explains itself */
int cli_identity(const struct site *s, struct vault *v, struct error *e) MUST_CHECK;
int cli_vault(const struct cli *c, const struct site *s, struct vault **out, struct error *e) MUST_CHECK;
#endif
