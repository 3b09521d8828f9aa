/* Private to record/: BCF as text, by a child of its own. htslib reads lengths and offsets out of the file; the child that runs it can read that
 * one file and write to one pipe, and can neither open nor send anything else, so a hostile file gets nothing. */
#ifndef RECORD_VCF_BCF_H
#define RECORD_VCF_BCF_H
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* *text: the read end of a pipe; the lines of the VCF come out of it. */
int vcf_bcf_start(const char *path, int *text, pid_t *child, struct error *e) MUST_CHECK;
/* Waits for the child (ends it when `stop`). E_INPUT: it met something that is no BCF; what came before is worthless then. */
int vcf_bcf_end(pid_t child, bool stop, struct error *e);
#endif
