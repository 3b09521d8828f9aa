/* The databases that `make` has compiled, as the bytes of TEXT_READY. */
#include "deid/text_ready.h"

__asm__(".pushsection .rodata\n.balign 64\n.globl vitae_text_ready\n.hidden vitae_text_ready\nvitae_text_ready:\n.incbin \"" TEXT_READY
        "\"\n.globl vitae_text_ready_end\n.hidden vitae_text_ready_end\nvitae_text_ready_end:\n.popsection\n");
extern const char vitae_text_ready[], vitae_text_ready_end[];

struct str text_ready_data(void) {
  return (struct str){vitae_text_ready, (size_t)((uintptr_t)vitae_text_ready_end - (uintptr_t)vitae_text_ready)};
}
