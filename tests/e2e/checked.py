# SPDX-License-Identifier: Apache-2.0
"""Small JSON files with a checksum (src/base/io_checked.c), as earlier releases wrote them: behind the text."""
import json


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def write_checked(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{text}\n{crc32c(text.encode()):08x}\n")


def forget_checksum(facts):
    """Makes a snapshot.json one of the releases that knew no checksum of the store."""
    with open(facts, encoding="utf-8") as f:
        document = json.loads(f.read())
    del document["store_crc32c"], document["crc32c"]
    write_checked(facts, json.dumps(document))
