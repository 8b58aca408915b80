/* The least that does the work of an SPOE agent: greets, reads each query, looks its room up in a table, places a new
 * room where the fewest are, and answers with the server and a number. One thread, epoll(7).
 * Measured against by `cargo xtask bench haproxy-spoe`. It has no limits, no deadlines, no failures: never put it to work. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 65536
#define ROOMS 65536
#define SERVERS 3

struct conn { int fd; size_t have; uint8_t in[SIZE]; };
struct text { const uint8_t *at; size_t len; };
static struct { size_t len; int server; char name[112]; } rooms[ROOMS];
static int held[SERVERS];
static unsigned long told;

static size_t put_varint(uint8_t *to, uint64_t n) {
    size_t len = 0;
    if (n < 240) { to[len++] = n; return len; }
    to[len++] = n | 240;
    for (n = (n - 240) >> 4; n >= 128; n = (n - 128) >> 7) to[len++] = n | 128;
    to[len++] = n;
    return len;
}

static size_t put_text(uint8_t *to, const char *text) {
    size_t len = strlen(text), at = put_varint(to, len);
    memcpy(to + at, text, len);
    return at + len;
}

static uint64_t varint(const uint8_t **at, const uint8_t *end) {
    uint64_t n = *at < end ? *(*at)++ : 0;
    if (n < 240) return n;
    for (int shift = 4; *at < end; shift += 7) {
        n += (uint64_t)**at << shift;
        if (*(*at)++ < 128) break;
    }
    return n;
}

static struct text text(const uint8_t **at, const uint8_t *end) {
    size_t len = varint(at, end);
    if (len > (size_t)(end - *at)) len = end - *at;
    struct text text = { *at, len };
    *at += len;
    return text;
}

/* Goes over a value; the text, if it is one. */
static struct text value(const uint8_t **at, const uint8_t *end) {
    int kind = *at < end ? *(*at)++ & 15 : 0;
    if (kind >= 8) return text(at, end);
    if (kind >= 2 && kind <= 5) varint(at, end);
    else if (kind >= 6) *at += kind == 6 ? 4 : 16;
    if (*at > end) *at = end;
    return (struct text){ NULL, 0 };
}

/* The server of a room, from now on. */
static int place(struct text room) {
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < room.len; i++) hash = (hash ^ room.at[i]) * 0x100000001b3;
    size_t at = hash % ROOMS, least = 0;
    if (room.len > sizeof rooms->name) return 0;
    for (; rooms[at].len; at = (at + 1) % ROOMS)
        if (rooms[at].len == room.len && !memcmp(rooms[at].name, room.at, room.len)) return rooms[at].server;
    for (size_t i = 1; i < SERVERS; i++) if (held[i] < held[least]) least = i;
    memcpy(rooms[at].name, room.at, rooms[at].len = room.len);
    held[least]++;
    return rooms[at].server = least;
}

/* Length, type, flags. */
static size_t head(uint8_t *frame, size_t len, uint8_t type) {
    uint32_t rest = htonl(len - 4), flags = htonl(1);
    memcpy(frame, &rest, 4);
    frame[4] = type;
    memcpy(frame + 5, &flags, 4);
    return len;
}

static size_t greet(uint8_t *out) {
    size_t at = 9;
    out[at++] = 0; out[at++] = 0;
    at += put_text(out + at, "version"); out[at++] = 8; at += put_text(out + at, "2.0");
    at += put_text(out + at, "max-frame-size"); out[at++] = 3; at += put_varint(out + at, 16380);
    at += put_text(out + at, "capabilities"); out[at++] = 8; at += put_text(out + at, "pipelining");
    return head(out, at, 101);
}

static size_t set(uint8_t *out, const char *name, const char *to) {
    size_t at = 3;
    memcpy(out, "\1\3\2", 3);
    at += put_text(out + at, name); out[at++] = 8;
    return at + put_text(out + at, to);
}

static size_t answer(uint8_t *out, const uint8_t *frame, const uint8_t *end) {
    const uint8_t *at = frame + 9;
    struct text room = { NULL, 0 };
    size_t len;
    char to[24];
    varint(&at, end); varint(&at, end);
    memcpy(out + 9, frame + 9, len = at - frame - 9); len += 9;
    while (at < end) {
        struct text message = text(&at, end);
        int asks = message.len == 5 && !memcmp(message.at, "place", 5);
        for (int args = at < end ? *at++ : 0; args > 0; args--) {
            struct text name = text(&at, end), is = value(&at, end);
            if (asks && is.at && name.len == 4 && !memcmp(name.at, "room", 4)) room = is;
        }
    }
    if (!room.at) return head(out, len, 103);
    snprintf(to, sizeof to, "web%d", place(room) + 1); len += set(out + len, "server", to);
    snprintf(to, sizeof to, "%lu", ++told); len += set(out + len, "why", to);
    return head(out, len, 103);
}

/* Whether the connection goes on. */
static int serve(struct conn *conn) {
    static uint8_t out[SIZE * 4];
    size_t used = 0, len = 0;
    int over = 0;
    ssize_t n = read(conn->fd, conn->in + conn->have, SIZE - conn->have);
    if (n <= 0) return 0;
    conn->have += n;
    while (!over && conn->have - used >= 4) {
        uint8_t *frame = conn->in + used;
        uint32_t size;
        memcpy(&size, frame, 4);
        size = ntohl(size);
        if (size > SIZE - 4 || size < 7) return 0;
        if (conn->have - used < size + 4) break;
        if (frame[4] == 1) len += greet(out + len), over = memmem(frame, size + 4, "healthcheck", 11) != NULL;
        else if (frame[4] == 3) len += answer(out + len, frame, frame + size + 4);
        else return 0;
        used += size + 4;
    }
    memmove(conn->in, conn->in + used, conn->have -= used);
    return write(conn->fd, out, len) == (ssize_t)len && !over;
}

int main(int argc, char **argv) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 9600) };
    struct epoll_event some[64], one_more = { .events = EPOLLIN };
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&to, sizeof to) || listen(listener, 128)) return 1;
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &one_more);
    for (;;) {
        int count = epoll_wait(poll, some, 64, -1);
        for (int i = 0; i < count; i++) {
            struct conn *conn = some[i].data.ptr;
            if (conn) {
                if (!serve(conn)) { close(conn->fd); free(conn); }
                continue;
            }
            if (!(conn = calloc(1, sizeof *conn)) || (conn->fd = accept(listener, NULL, NULL)) < 0) return 1;
            setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            one_more.data.ptr = conn;
            epoll_ctl(poll, EPOLL_CTL_ADD, conn->fd, &one_more);
        }
    }
}
