/* How numbers are stored, and how products round their factors.
 *
 * Everything is computed in float32 (in float64 by the reference evaluators); storage and the
 * factors of products on matrix units may have fewer bits. Rounding is to nearest, ties to even.
 *   bf16  1 sign, 8 exponent, 7 mantissa bits    f16  1, 5, 10 (IEEE 754 binary16)
 *   tf32  1, 8, 10: a factor only, never stored (it takes 32 bits)
 *   u8    a whole number from 0 to 255: random masks, which are 0 or 1 */
#ifndef NPC_IR_STORAGE_H
#define NPC_IR_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum Storage { STORAGE_F32, STORAGE_BF16, STORAGE_F16, STORAGE_U8, STORAGE_COUNT } Storage;

/* What a product rounds its two factors to; sums are float32. */
typedef enum MathMode { MATH_F32, MATH_TF32, MATH_BF16, MATH_F16, MATH_COUNT } MathMode;

const char *storage_text(Storage s); /* "f32", "bf16", "f16", "u8" */
const char *math_text(MathMode m);   /* "f32", "tf32", "bf16", "f16" */
bool storage_find(const char *text, Storage *out);
bool math_find(const char *text, MathMode *out);
size_t storage_bytes(Storage s); /* of one element */
bool storage_has_16_bits(Storage s);

float bf16_to_float(uint16_t x);
uint16_t float_to_bf16(float x); /* a NaN stays one */
float f16_to_float(uint16_t x);
uint16_t float_to_f16(float x); /* too large becomes infinite */
float float_to_tf32(float x);

/* Element i of stored numbers. */
float storage_read(const void *at, Storage s, int64_t i);
void storage_write(void *at, Storage s, int64_t i, float x);
float math_round(MathMode m, float x);

#endif
