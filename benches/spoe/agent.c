/* The least an SPOE agent can do: greets, and answers each query with the same server. One thread, poll(2).
 * Measured against by `cargo xtask bench haproxy-spoe`. It checks next to nothing: never put it to work. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 1024
#define SIZE 65536

static struct pollfd fds[MOST];
static struct { uint8_t in[SIZE]; size_t have; } conns[MOST];

static size_t put_varint(uint8_t *to, uint64_t n) {
    size_t len = 0;
    if (n < 240) { to[len++] = n; return len; }
    to[len++] = n | 240;
    for (n = (n - 240) >> 4; n >= 128; n = (n - 128) >> 7) to[len++] = n | 128;
    to[len++] = n;
    return len;
}

static size_t skip_varint(const uint8_t *at) {
    size_t len = 1;
    if (at[0] >= 240) while (at[len++] >= 128) {}
    return len;
}

static size_t put_text(uint8_t *to, const char *text) {
    size_t len = strlen(text), at = put_varint(to, len);
    memcpy(to + at, text, len);
    return at + len;
}

/* Length, type, flags. */
static void head(uint8_t *frame, size_t len, uint8_t type) {
    uint32_t rest = htonl(len - 4), flags = htonl(1);
    memcpy(frame, &rest, 4);
    frame[4] = type;
    memcpy(frame + 5, &flags, 4);
}

static size_t greet(uint8_t *out, const uint8_t *frame, size_t len, int *over) {
    size_t at = 9;
    *over = memmem(frame, len, "healthcheck", 11) != NULL;
    out[at++] = 0; out[at++] = 0;
    at += put_text(out + at, "version"); out[at++] = 8; at += put_text(out + at, "2.0");
    at += put_text(out + at, "max-frame-size"); out[at++] = 3; at += put_varint(out + at, 16380);
    at += put_text(out + at, "capabilities"); out[at++] = 8; at += put_text(out + at, "pipelining");
    head(out, at, 101);
    return at;
}

static size_t answer(uint8_t *out, const uint8_t *frame) {
    size_t ids = skip_varint(frame + 9), at = 9;
    ids += skip_varint(frame + 9 + ids);
    memcpy(out + at, frame + 9, ids); at += ids;
    out[at++] = 1; out[at++] = 3; out[at++] = 2;
    at += put_text(out + at, "server"); out[at++] = 8; at += put_text(out + at, "web1");
    out[at++] = 1; out[at++] = 3; out[at++] = 2;
    at += put_text(out + at, "why"); out[at++] = 8; at += put_text(out + at, "123456");
    head(out, at, 103);
    return at;
}

/* Whether the connection goes on. */
static int serve(int i) {
    static uint8_t out[SIZE * 4];
    size_t used = 0, len = 0;
    int over = 0;
    ssize_t n = read(fds[i].fd, conns[i].in + conns[i].have, SIZE - conns[i].have);
    if (n <= 0) return 0;
    conns[i].have += n;
    while (!over && conns[i].have - used >= 4) {
        uint8_t *frame = conns[i].in + used;
        uint32_t size;
        memcpy(&size, frame, 4);
        size = ntohl(size);
        if (size > SIZE - 4 || size < 7) return 0;
        if (conns[i].have - used < size + 4) break;
        if (frame[4] == 1) len += greet(out + len, frame, size + 4, &over);
        else if (frame[4] == 3) len += answer(out + len, frame);
        else return 0;
        used += size + 4;
    }
    memmove(conns[i].in, conns[i].in + used, conns[i].have -= used);
    return write(fds[i].fd, out, len) == (ssize_t)len && !over;
}

int main(int argc, char **argv) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 9600) };
    int one = 1, count = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fds[0] = (struct pollfd){ .fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN };
    setsockopt(fds[0].fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fds[0].fd, (struct sockaddr *)&to, sizeof to) || listen(fds[0].fd, 128)) return 1;
    while (poll(fds, count, -1) > 0) {
        for (int i = count - 1; i > 0; i--) {
            if (!fds[i].revents || serve(i)) continue;
            close(fds[i].fd);
            fds[i] = fds[--count];
            memcpy(&conns[i], &conns[count], sizeof conns[i]);
        }
        if (fds[0].revents && count < MOST) {
            int fd = accept(fds[0].fd, NULL, NULL);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            conns[count].have = 0;
            fds[count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
        }
    }
    return 0;
}
