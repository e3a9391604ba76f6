"""Writes powers.h: 128 leading bits of the powers of five that numbers.h multiplies with, exact below 5**56, rounded as Lemire asks else."""

FIRST, LAST = -64, 64


def leading(exponent: int) -> int:
    """The 128 leading bits of 5**exponent: cut off for a positive exponent, rounded up for a negative one."""
    power = 5 ** abs(exponent)
    if exponent >= 0:
        shift = 128 - power.bit_length()
        return power << shift if shift >= 0 else power >> -shift
    bits = (power - 1).bit_length()
    found = 2 ** (bits + 127) // power + 1 if exponent >= -27 else 2 ** (2 * bits + 128) // power + 1
    return found >> max(0, found.bit_length() - 128)


def main() -> None:
    rows = [f"{{0x{leading(e) >> 64:016x}ULL, 0x{leading(e) & (2**64 - 1):016x}ULL}}," for e in range(FIRST, LAST + 1)]
    head = f"/* Written by powers.py. */\n#define FIRST_POWER ({FIRST})\n#define LAST_POWER {LAST}\nstatic const uint64_t POWERS[{len(rows)}][2] = {{\n"
    print(head + "\n".join(rows) + "\n};")


if __name__ == "__main__":
    main()
