/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: what kernel and loopback cost. Reads a head, looks for its end, sends bytes made
 * before. floor PORT BODY_BYTES
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static char answer[1 << 20];
static size_t n_answer;

static void serve(int fd, int epoll_fd)
{
    char head[16384];
    ssize_t n = read(fd, head, sizeof head);
    if (n <= 0) {
        (void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* closing would do it too */
        (void)close(fd);
        return;
    }
    if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0 &&
        write(fd, answer, n_answer) != (ssize_t)n_answer)
        (void)close(fd); /* the client sees it as a failure and counts it */
}

int main(int argc, char **argv)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), epoll_fd = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    size_t n_body = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (argc != 3 || n_body > sizeof answer - 1024)
        return 2;
    at.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    n_answer = (size_t)snprintf(
        answer, sizeof answer,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-One: 1234567890\r\n"
        "X-Two: 1234567890\r\nContent-Length: %zu\r\n\r\n",
        n_body);
    memset(answer + n_answer, 'x', n_body);
    n_answer += n_body;
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one,
                     sizeof one); /* only restarts need it */
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 4096) != 0)
        return 1;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, events[256];
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e) != 0)
        return 1;
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd != listener) {
                serve(events[i].data.fd, epoll_fd);
                continue;
            }
            int fd = accept(listener, NULL, NULL);
            struct epoll_event c = {.events = EPOLLIN, .data.fd = fd};
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* slower without */
            if (fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &c) != 0)
                (void)close(fd);
        }
    }
}
