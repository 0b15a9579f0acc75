// Words of the loops in C++: bfloat16, alone and two by two, for AVX-512 with its bf16 units.

#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

using bf16 = uint16_t;
using pair = uint32_t;  // two that are multiplied with two others and added up

inline __m256i half(const bf16* x) { return _mm256_loadu_si256((const __m256i*)x); }

inline __m512 wide(const bf16* x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half(x)), 16));
}

inline void narrow(bf16* to, __m512 x) { _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(x)); }

inline __m512i paired(__m256i low, __m256i high) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

inline __m512i paired(__m512 low, __m512 high) {
    return paired((__m256i)_mm512_cvtneps_pbh(low), (__m256i)_mm512_cvtneps_pbh(high));
}

}  // namespace
