/* What libFuzzer and replay.c call: one input of any bytes. Must not crash, leak, hang or print; returns 0. */
#ifndef VT_TESTS_FUZZ_H
#define VT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#endif
