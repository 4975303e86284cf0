/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses a request may be sent to. Looked at where the socket is made, so that no spelling
 * of a host name and no answer of a name server gets around it. IPv4 addresses that are wrapped
 * into IPv6 (mapped, compatible, NAT64, 6to4) are judged by what is inside.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "net/net_int.h"

enum place { PLACE_ELSEWHERE, PLACE_LOOPBACK, PLACE_FORBIDDEN };

static enum place place_of_ipv4(uint32_t a)
{
    if (a >> 24 == 127)
        return PLACE_LOOPBACK;
    if (a >> 24 == 0) /* "this host": the kernel connects it to loopback */
        return PLACE_FORBIDDEN;
    if (a >> 16 == 0xa9fe) /* 169.254/16: link-local, cloud metadata */
        return PLACE_FORBIDDEN;
    if (a == 0x646464c8) /* 100.100.100.200: a cloud's metadata */
        return PLACE_FORBIDDEN;
    return a >= 0xe0000000 ? PLACE_FORBIDDEN : PLACE_ELSEWHERE; /* multicast, reserved, broadcast */
}

static uint32_t ipv4_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static enum place place_of_ipv6(const struct in6_addr *address)
{
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
    static const uint8_t metadata[16] = {0xfd, 0, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54};
    const uint8_t *p = address->s6_addr;
    if (IN6_IS_ADDR_LOOPBACK(address))
        return PLACE_LOOPBACK;
    if (IN6_IS_ADDR_UNSPECIFIED(address) || IN6_IS_ADDR_MULTICAST(address))
        return PLACE_FORBIDDEN;
    if (p[0] == 0xfe && (p[1] & 0xc0) == 0x80)
        return PLACE_FORBIDDEN;
    if (memcmp(p, metadata, sizeof metadata) == 0) /* fd00:ec2::254 */
        return PLACE_FORBIDDEN;
    if (IN6_IS_ADDR_V4MAPPED(address) || IN6_IS_ADDR_V4COMPAT(address) ||
        memcmp(p, nat64, sizeof nat64) == 0)
        return place_of_ipv4(ipv4_at(p + 12));
    if (p[0] == 0x20 && p[1] == 0x02) /* 6to4 */
        return place_of_ipv4(ipv4_at(p + 2));
    return PLACE_ELSEWHERE;
}

static enum place place_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return place_of_ipv4(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        return place_of_ipv6(&in6.sin6_addr);
    }
    return PLACE_FORBIDDEN;
}

bool address_is_allowed(const struct sockaddr *address, enum net_reach reach, bool allow_loopback,
                        bool is_http)
{
    if (reach == NET_REACH_NAMED)
        return true;
    switch (place_of(address)) {
    case PLACE_ELSEWHERE:
        return !is_http;
    case PLACE_LOOPBACK:
        return allow_loopback;
    case PLACE_FORBIDDEN:
        return false;
    }
    return false;
}
