/* Does the model remember single persons? Three measurements on a trained model, and limits above which a version is refused.
 *
 *     struct memorisation_limits limits;  TRY(memorisation_limits_load("policy/gates.json", &limits, e));
 *     struct memorisation m;
 *     TRY(memorisation_run(&(struct memorisation_options){.model = model, .store = t, .model_dir = dir, .limits = limits, .seed = 1}, &arena, &m, e));
 *     ok = memorisation_gate(&m, &reasons);                                // validate_gate asks it for a validation that carries it
 *
 * (1) Membership inference: persons that were trained on against held-out persons of the same sources, equally many of each, told
 * apart by how likely the model finds their life: plain (mean log-likelihood of its codes under the rates head, after Yeom et al. 2018),
 * calibrated (minus that of a reference: an earlier checkpoint, or the codes' frequencies in the whole store;
 * likelihood ratio, after Mireshghallah et al. 2022). A blind attack that never asks the model (frequencies alone) stands beside them: where it succeeds, the
 * two groups differ and the attack proves nothing about the model (Das et al. 2024). Persons with a rare code once more on their own.
 * (2) Exposure of canaries that were planted in training (model/train_canary.c), read from the checkpoint's canaries.json.
 * (3) Nearest neighbours: the rest of lives is sampled from their first quarter, for trained and held-out persons alike. Does what is
 * generated lie nearer to trained lives than to held-out ones (0.5 = no; nearest-neighbour adversarial accuracy, after Yale et al. 2020), does it
 * complete trained lives better, how long a run of codes and waits is copied?
 * What could not be measured says why; it is never a pass in disguise. docs/memorisation.md explains the figures.
 */
#ifndef VALIDATE_MEMORISATION_H
#define VALIDATE_MEMORISATION_H
#include "validate/validate.h"

enum { MEMORISATION_MEMBERSHIP = 1, MEMORISATION_RARE = 2, MEMORISATION_EXPOSURE = 4, MEMORISATION_GENERATION = 8 };
struct memorisation_limits {
  int64_t least_persons; /* on each side, for a figure to count */
  double rare_share;     /* a code is rare if at most this share of training persons (and at most ten, if that is more) have it */
  double membership_auc; /* of the plain and of the calibrated attack; refused above it when the interval is above chance too */
  double membership_tpr; /* share of trained persons found at 1 % false alarms; the same */
  double rare_membership_auc;
  double exposure_bits; /* mean exposure of canaries that an epoch held `exposure_repeats` times; refused when chance is under 1 % */
  int64_t exposure_repeats;
  double closer_to_training, completion_auc; /* 0.5 = chance; refused above when the interval is above chance too */
  double copied_run_excess; /* events by which the longest run copied from trained lives may exceed that from held-out ones */
  unsigned require;         /* MEMORISATION_…: what must have been measured */
  char hash[65];            /* SHA-256 of the file */
};
int memorisation_limits_load(const char *path, struct memorisation_limits *out, struct error *e) MUST_CHECK;

struct attack {
  uint32_t members, others;
  struct interval auc; /* DeLong */
  struct interval tpr; /* at 1 % false alarms; bootstrap; NaN under 100 others */
  struct curve roc;
};
struct exposure_row {
  int repeats;
  uint32_t canaries;
  double mean, chance; /* bits; probability of such a mean where nothing is remembered */
};
#define MEMORISATION_BINS 40
struct memorisation {
  struct memorisation_limits limits;
  const char *why[4]; /* NULL = measured: membership, rare, exposure, generation */
  uint32_t persons, sources;
  bool by_checkpoint; /* the reference was a checkpoint */
  struct attack plain, calibrated, blind, rare_plain, rare_calibrated;
  uint32_t rare_persons;      /* a rare code has at most so many training persons */
  struct curve likelihood[2]; /* histograms of the plain score, standardised within a source: [0] held out, [1] trained on */
  struct exposure_row exposure[8];
  int exposures;
  double most_exposure;
  uint32_t canaries, prompts, generated, compared;
  struct interval closer, completion;
  double nearer_than_held_out; /* P(generated life is nearer to training lives than a held-out life is); says how typical they are, too */
  uint32_t longest[2][2]; /* longest run copied, events: [0] codes alone, [1] codes with waits; [0] from held-out, [1] from trained lives */
  double mean_run[2][2];
  struct curve distance[2]; /* cumulative shares of the distance to the nearest: [0] held-out, [1] trained life */
  double seconds;
};
struct memorisation_options {
  const struct model *model, *reference; /* reference: NULL, or a checkpoint of the same vocabulary */
  const struct timeline *store;
  const char *model_dir; /* for canaries.json; NULL = not there */
  struct memorisation_limits limits;
  uint64_t seed;
  int threads;
  uint32_t persons, prompts; /* on each side; 0 = 1000 and 100 */
};
int memorisation_run(const struct memorisation_options *o, struct arena *a, struct memorisation *out, struct error *e) MUST_CHECK;
/* True if no limit is passed and what is required was measured. Appends to `reasons`, parted by "; " from what is there. */
bool memorisation_gate(const struct memorisation *m, struct buf *reasons);
struct json_out;
void memorisation_json(const struct memorisation *m, struct json_out *o); /* an object */
void memorisation_html(const struct memorisation *m, struct buf *out);    /* a section of report.html */
void memorisation_line(const struct memorisation *m, struct buf *out);    /* one line for a terminal */
#endif
