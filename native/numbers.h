/* A JSON array of numbers, or of arrays of numbers of one length, straight into doubles; null is NaN.

   A decimal is w * 10**q. Small ones are exact products or quotients of doubles. For the others the 64 bits of w times 128 bits of 5**q
   decide the nearest double in nearly all cases (D. Lemire, Number parsing at a gigabyte per second, 2021); what is left, and what is
   longer than 19 digits or beyond the table, goes to Python's own reader. */
#ifndef RUNG_NUMBERS_H
#define RUNG_NUMBERS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "powers.h"

typedef struct { double *values; size_t count, room; long rows; size_t width; } Numbers;

static const double TENS[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* The double nearest to w * 10**q in *found; 0 when it cannot tell. */
static int nearest(uint64_t w, int q, double *found) {
    if (w <= 1ULL << 53 && q >= -22 && q <= 22) {
        *found = q < 0 ? (double)w / TENS[-q] : (double)w * TENS[q];
        return 1;
    }
    if (w == 0) { *found = 0; return 1; }
    if (q < FIRST_POWER || q > LAST_POWER) return 0;
    int zeros = __builtin_clzll(w);
    w <<= zeros;
    const uint64_t *power = POWERS[q - FIRST_POWER];
    unsigned __int128 product = (unsigned __int128)w * power[0];
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if ((high & 0x1FF) == 0x1FF) {
        uint64_t more = (uint64_t)(((unsigned __int128)w * power[1]) >> 64);
        low += more;
        if (low < more) high++;
    }
    if (low == UINT64_MAX && (q < -27 || q > 55)) return 0;
    int upper = (int)(high >> 63), shift = upper + 64 - 52 - 3;
    uint64_t mantissa = high >> shift;
    int exponent = (((152170 + 65536) * q) >> 16) + 63 + upper - zeros + 1023;
    if (exponent <= 0) return 0;
    if (low <= 1 && q >= -4 && q <= 23 && (mantissa & 3) == 1 && mantissa << shift == high) mantissa &= ~1ULL;
    mantissa += mantissa & 1;
    mantissa >>= 1;
    if (mantissa >= 2ULL << 52) { mantissa = 1ULL << 52; exponent++; }
    mantissa &= ~(1ULL << 52);
    if (exponent >= 0x7FF) return 0;
    uint64_t bits = mantissa | (uint64_t)exponent << 52;
    memcpy(found, &bits, 8);
    return 1;
}

static int by_python(const char *from, const char *to, double *found) {
    char few[64], *text = few;
    size_t size = (size_t)(to - from);
    if (size > 4096 || (size >= sizeof few && !(text = malloc(size + 1)))) return 0;
    memcpy(text, from, size);
    text[size] = 0;
    *found = PyOS_string_to_double(text, NULL, NULL);
    if (text != few) free(text);
    return !PyErr_Occurred() && !isinf(*found);
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* Eight digits at p at once: 1 and their number, or 0 when one of them is no digit. */
static inline int eight_digits(const char *p, uint64_t *number) {
    uint64_t v;
    memcpy(&v, p, 8);
    if (((v & 0xF0F0F0F0F0F0F0F0ULL) | (((v + 0x0606060606060606ULL) & 0xF0F0F0F0F0F0F0F0ULL) >> 4)) != 0x3333333333333333ULL) return 0;
    v = (v & 0x0F0F0F0F0F0F0F0FULL) * 2561 >> 8;
    v = (v & 0x00FF00FF00FF00FFULL) * 6553601 >> 16;
    *number = (v & 0x0000FFFF0000FFFFULL) * 42949672960001ULL >> 32;
    return 1;
}

static inline int four_digits(const char *p, uint64_t *number) {
    uint32_t v;
    memcpy(&v, p, 4);
    if (((v & 0xF0F0F0F0U) | (((v + 0x06060606U) & 0xF0F0F0F0U) >> 4)) != 0x33333333U) return 0;
    v = (v & 0x0F0F0F0FU) * 2561 >> 8;
    *number = (v & 0x00FF00FFU) * 6553601 >> 16;
    return 1;
}
#else
static inline int eight_digits(const char *p, uint64_t *number) { (void)p; (void)number; return 0; }
static inline int four_digits(const char *p, uint64_t *number) { (void)p; (void)number; return 0; }
#endif

/* The digits from p on, put behind those of *w; where they end. */
static inline const char *read_digits(const char *p, const char *end, uint64_t *w) {
    uint64_t more;
    while (end - p >= 8 && eight_digits(p, &more)) { *w = *w * 100000000 + more; p += 8; }
    if (end - p >= 4 && four_digits(p, &more)) { *w = *w * 10000 + more; p += 4; }
    while (p < end && (unsigned)(*p - '0') < 10) { *w = *w * 10 + (uint64_t)(*p - '0'); p++; }
    return p;
}

/* One number at *at, which is moved behind it; 0 when there is none. Every bound is checked: the text need not end in a zero.
   -0 is 0, as every reader has it that takes it for a whole number; -0.0 keeps its sign. */
static int read_number(const char **at, const char *end, double *found) {
    const char *p = *at, *start = p;
    int whole = 1, q = 0, digits = 0, negative = p < end && *p == '-'; /* added, not asked: signs of numbers in a row cannot be guessed */
    uint64_t w = 0;
    p += negative;
    const char *first = p;
    while (p < end && (unsigned)(*p - '0') < 10) { w = w * 10 + (uint64_t)(*p - '0'); p++; }
    if (p == first || (*first == '0' && p - first > 1)) return 0;
    digits = (int)(p - first > 1000 ? 1000 : p - first);
    if (*first == '0') digits = 0;
    if (p < end && *p == '.') {
        const char *point = ++p;
        whole = 0;
        if (*first == '0') while (p < end && *p == '0') p++;
        const char *significant = p;
        p = read_digits(p, end, &w);
        if (p == point) return 0;
        if (p - point > 1000) return 0;
        digits += (int)(p - significant);
        q = -(int)(p - point);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        int down = 0, power = 0;
        p++;
        whole = 0;
        if (p < end && (*p == '-' || *p == '+')) down = *p++ == '-';
        const char *point = p;
        while (p < end && (unsigned)(*p - '0') < 10) { if (power < 100000) power = power * 10 + (*p - '0'); p++; }
        if (p == point) return 0;
        q += down ? -power : power;
    }
    *at = p;
    if (digits > 19 || !nearest(w, q, found)) return by_python(start, p, found);
    uint64_t sign = (uint64_t)(negative & !(whole & (w == 0))) << 63, bits;
    memcpy(&bits, found, 8);
    bits ^= sign;
    memcpy(found, &bits, 8);
    return 1;
}

static inline const char *skip(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}

/* The values between [ and ], *at behind the [ at first and behind the ] at last; -1 without memory, 0 for anything else in it. */
static int read_values(const char **at, const char *end, Numbers *into) {
    const char *p = skip(*at, end);
    if (p < end && *p == ']') { *at = p + 1; return 1; }
    for (;;) {
        if (into->count == into->room) {
            size_t room = into->room * 2;
            double *more = realloc(into->values, room * sizeof(double));
            if (!more) return -1;
            into->values = more;
            into->room = room;
        }
        double *to = into->values + into->count++;
        p = skip(p, end);
        if (end - p >= 4 && !memcmp(p, "null", 4)) { *to = NAN; p += 4; }
        else if (!read_number(&p, end, to)) return 0;
        p = skip(p, end);
        if (p == end) return 0;
        if (*p == ']') { *at = p + 1; return 1; }
        if (*p++ != ',') return 0;
    }
}

/* 1 for an array of numbers (rows is -1) or of equal arrays of them, 0 for anything else, -1 without memory. */
static int read_numbers(const char *p, size_t size, Numbers *into) {
    const char *end = p + size;
    into->room = size / 8 + 16;
    into->rows = -1;
    if (!(into->values = malloc(into->room * sizeof(double)))) return -1;
    p = skip(p, end);
    if (p == end || *p++ != '[') return 0;
    p = skip(p, end);
    int fine;
    if (p == end || *p != '[') {
        if ((fine = read_values(&p, end, into)) != 1) return fine;
        into->width = into->count;
        return skip(p, end) == end;
    }
    for (into->rows = 0;; into->rows++) {
        size_t before = into->count;
        if (p == end || *p++ != '[') return 0;
        if ((fine = read_values(&p, end, into)) != 1) return fine;
        if (into->rows == 0) into->width = into->count;
        else if (into->count - before != into->width) return 0;
        p = skip(p, end);
        if (p == end) return 0;
        if (*p == ']') { into->rows++; return skip(p + 1, end) == end; }
        if (*p++ != ',') return 0;
        p = skip(p, end);
    }
}
#endif
