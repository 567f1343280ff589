"""Damage bytes: flipped bits, lost and repeated blocks, extreme numbers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damage(data: bytes, rng: Random, *, head: int = 400) -> tuple[bytes, str]:
    """Damage a file once, or now and then twice.

    Args:
        data: content of the file.
        rng: source of random numbers.
        head: numbers are made extreme within so many bytes of its beginning, most of the time.

    Returns:
        The damaged content, and the name of the damage.
    """
    names = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        name = rng.choice(list(DAMAGES))
        data = DAMAGES[name](data, rng, head)
        names.append(name)
    return data, " and ".join(dict.fromkeys(names))


def place(data: bytes, rng: Random, head: int) -> int:
    """Choose a byte: half of the time near the beginning, where headers are."""
    return rng.randrange(max(1, min(len(data), head) if rng.random() < 0.5 else len(data)))


def flip_bits(data: bytes, rng: Random, head: int) -> bytes:
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if result:
            result[place(data, rng, head)] ^= 1 << rng.randrange(8)
    return bytes(result)


def overwrite(data: bytes, rng: Random, head: int) -> bytes:
    start = place(data, rng, head)
    block = rng.randbytes(rng.randint(1, 32))
    return (data[:start] + block + data[start + len(block) :])[: len(data)]


def zero_block(data: bytes, rng: Random, head: int) -> bytes:
    start = place(data, rng, head)
    end = min(len(data), start + rng.choice((1, 4, 64, 512, 4096)))
    return data[:start] + bytes(end - start) + data[end:]


def truncate(data: bytes, rng: Random, head: int) -> bytes:
    return data[: rng.choice((rng.randrange(len(data) + 1), max(0, len(data) - rng.randint(1, 16))))]


def delete_block(data: bytes, rng: Random, head: int) -> bytes:
    start = place(data, rng, head)
    return data[:start] + data[start + rng.choice((1, 2, 3, 4, 16, 256)) :]


def repeat_block(data: bytes, rng: Random, head: int) -> bytes:
    start = place(data, rng, head)
    end = start + rng.choice((1, 2, 4, 16, 256, 1024))
    return data[:end] + data[start:end] * rng.choice((1, 1, 3)) + data[end:]


def set_extreme(data: bytes, rng: Random, head: int) -> bytes:
    size = rng.choice((1, 2, 4))
    number = rng.choice(EXTREMES) & (256**size - 1)
    start = place(data, rng, head)
    result = data[:start] + number.to_bytes(size, rng.choice(("little", "big"))) + data[start + size :]
    return result[: len(data)]


def append_junk(data: bytes, rng: Random, head: int) -> bytes:
    return data + rng.choice((rng.randbytes(rng.randint(1, 300)), bytes(64), data[:64], b"\n"))


DAMAGES: dict[str, Callable[[bytes, Random, int], bytes]] = {
    "flipped bits": flip_bits,
    "overwritten bytes": overwrite,
    "a block of zeros": zero_block,
    "truncated": truncate,
    "a lost block": delete_block,
    "a repeated block": repeat_block,
    "an extreme number": set_extreme,
    "junk at the end": append_junk,
}
