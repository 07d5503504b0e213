/* Gossip's transport over Maelstrom's network, which has no connections: a message is sent, and
 * perhaps it arrives.
 *
 * Gossip is built on links that come and go, as nng's do, and a link that comes back is what lets
 * it start over at once, instead of finding out by its timers what was lost. So silence is made a
 * lost connection:
 *
 *   up      heard within SILENT_MS: gossip says something to every peer at least each HEARTBEAT_MS
 *   down    silent: a hello every HELLO_MS until something comes
 *   hello   "I had lost you": whoever gets one takes its link down and up again, for whatever it
 *           sent meanwhile is lost too, though it may have heard us all the time */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/maelstrom_state.h"

#define SILENT_MS 1600
#define HELLO_MS 200
#define FRAMES_WAIT_BYTES (4u << 20) /* of output, before frames are refused */

static void put_head(struct maelstrom *m, int peer, const char *type) {
    json_t *src = json_stringn((char *)m->peers[m->self].name.data, m->peers[m->self].name.len);
    json_t *dest = json_stringn((char *)m->peers[peer].name.data, m->peers[peer].name.len);
    buf_put_str(&m->out, "{\"src\":");
    text_put_json(&m->out, src);
    buf_put_str(&m->out, ",\"dest\":");
    text_put_json(&m->out, dest);
    buf_printf(&m->out, ",\"body\":{\"type\":\"%s\"", type);
    json_decref(src);
    json_decref(dest);
}

/* ----------------------------------------------------------------- the port */

static enum status dial(void *self, int link, const char *address) {
    struct maelstrom *m = self;
    char *end;
    unsigned long peer = strtoul(address, &end, 10);
    if (!*address || *end || peer >= m->peer_count) return STATUS_ERR_INVALID;
    m->links[link] = (struct link){.peer = (int)peer};
    return STATUS_OK;
}

static void hangup(void *self, int link) { ((struct maelstrom *)self)->links[link] = (struct link){.peer = -1}; }

static enum status send_frame(void *self, int link, struct bytes frame) {
    struct maelstrom *m = self;
    struct link *l = &m->links[link];
    if (l->peer < 0 || !l->up) return STATUS_ERR_NOT_FOUND;
    if (m->out.len >= FRAMES_WAIT_BYTES) {
        l->refused = true;
        return STATUS_ERR_BUSY;
    }
    put_head(m, l->peer, "anneal");
    buf_put_str(&m->out, ",\"frame\":\"");
    size_t size = sodium_base64_ENCODED_LEN(frame.len, sodium_base64_VARIANT_ORIGINAL);
    buf_reserve(&m->out, size);
    sodium_bin2base64((char *)m->out.data + m->out.len, size, frame.data, frame.len, sodium_base64_VARIANT_ORIGINAL);
    m->out.len += size - 1; /* it ends with a 0 */
    buf_put_str(&m->out, "\"}}\n");
    return STATUS_OK;
}

struct transport_port peers_port(struct maelstrom *m) { return (struct transport_port){dial, hangup, send_frame, m}; }

static void step(struct maelstrom *m, struct gossip_event event) { gossip_step(m->node->gossip, &event, node_now(m->node)); }

/* Tells gossip of room where it had none. */
void peers_room(struct maelstrom *m) {
    for (int i = 0; i < GOSSIP_LINKS && m->out.len < FRAMES_WAIT_BYTES / 2; i++) {
        if (!m->links[i].refused) continue;
        m->links[i].refused = false;
        step(m, (struct gossip_event){.kind = GOSSIP_SENT, .link = i});
    }
}

/* ----------------------------------------------------------------- arriving */

int peers_find(const struct maelstrom *m, struct bytes name) {
    for (uint32_t i = 0; i < m->peer_count; i++)
        if (i != m->self && bytes_equal(buf_bytes(&m->peers[i].name), name)) return (int)i;
    return -1;
}

/* Links are told what their peer is, and that it is not what it was. */
static void tell_links(struct maelstrom *m, int peer) {
    bool up = m->peers[peer].up;
    for (int i = 0; i < GOSSIP_LINKS; i++) {
        if (m->links[i].peer != peer || m->links[i].up == up) continue;
        m->links[i].up = up;
        m->links[i].refused = false;
        step(m, (struct gossip_event){.kind = up ? GOSSIP_UP : GOSSIP_DOWN, .link = i});
    }
}

static void set_up(struct maelstrom *m, int peer, bool up) {
    m->peers[peer].up = up;
    tell_links(m, peer);
}

static void heard(struct maelstrom *m, int peer) {
    m->peers[peer].heard_us = node_now(m->node).mono_us;
    set_up(m, peer, true);
}

void peers_hello(struct maelstrom *m, int peer) {
    set_up(m, peer, false);
    heard(m, peer);
}

void peers_frame(struct maelstrom *m, int peer, const json_t *body) {
    struct bytes text;
    struct buf frame = {0};
    if (!text_of(json_object_get(body, "frame"), &text)) text = (struct bytes){0};
    buf_reserve(&frame, text.len / 4 * 3 + 3);
    bool decodes = text.len && sodium_base642bin(frame.data, frame.cap, (const char *)text.data, text.len, NULL, &frame.len, NULL,
                                                 sodium_base64_VARIANT_ORIGINAL) == 0;
    if (decodes) {
        heard(m, peer);
        step(m, (struct gossip_event){.kind = GOSSIP_FRAME, .frame = buf_bytes(&frame)});
    } else {
        COUNT(m, frames_foreign, "a frame that is none");
    }
    buf_fini(&frame);
}

/* -------------------------------------------------------------------- time */

static int64_t peer_tick(struct maelstrom *m, int peer, int64_t now_us) {
    struct peer *p = &m->peers[peer];
    if (p->up && now_us - p->heard_us >= SILENT_MS * 1000) set_up(m, peer, false);
    if (p->up) return p->heard_us + SILENT_MS * 1000;
    if (!p->hello_us || now_us - p->hello_us >= HELLO_MS * 1000) {
        p->hello_us = now_us;
        put_head(m, peer, "anneal_hello");
        buf_put_str(&m->out, "}}\n");
    }
    return p->hello_us + HELLO_MS * 1000;
}

int64_t peers_tick(struct maelstrom *m, struct now now) {
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < m->peer_count; i++) {
        if (i == m->self) continue;
        int64_t due = peer_tick(m, (int)i, now.mono_us);
        if (due < next) next = due;
        tell_links(m, (int)i); /* those dialled since */
    }
    return next;
}
