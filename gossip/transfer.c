/* Messages to frames and back.
 *
 *   message ── cut ── part ── sealed ── frame ... frame ── opened ── part ── joined ── message
 *   part := sender's node:8 incarnation:8 message:8 index:4 count:4 bytes
 *
 * A message to many is cut and sealed once; outboxes share the parcel. An outbox that is full
 * drops what is new: whatever a message said, digests and pulls will say again. A receiver
 * joins one message of each sender at a time, the newest, since a link keeps order, mostly: some
 * parts may come before their turn. */
#include <assert.h>

#include "gossip/state.h"

#define PART_HEADER 32u
#define PART_BYTES (GOSSIP_FRAME_BYTES_MAX - SEAL_OVERHEAD_BYTES - PART_HEADER)

static void put_be(uint8_t *at, uint64_t value, unsigned len) {
    for (unsigned i = 0; i < len; i++) at[i] = (uint8_t)(value >> (8 * (len - 1 - i)));
}

static uint64_t get_be(const uint8_t *at, unsigned len) {
    uint64_t value = 0;
    for (unsigned i = 0; i < len; i++) value = value << 8 | at[i];
    return value;
}

/* ---------------------------------------------------------------- parcels */

static void add_part(struct gossip *g, struct parcel *parcel, struct bytes part, uint32_t index, uint32_t count) {
    uint8_t header[PART_HEADER], len[4];
    put_be(header, g->config.self.node, 8);
    put_be(header + 8, g->config.self.incarnation, 8);
    put_be(header + 16, g->message_number, 8);
    put_be(header + 24, index, 4);
    put_be(header + 28, count, 4);
    g->plain.len = 0;
    buf_put(&g->plain, header, sizeof header);
    buf_put_bytes(&g->plain, part);
    put_be(len, g->plain.len + SEAL_OVERHEAD_BYTES, 4);
    buf_put(&parcel->frames, len, sizeof len);
    frame_seal(&g->config.keys, &g->sealer, buf_bytes(&g->plain), &parcel->frames);
}

/* Finishes and frees the message; NULL when it is too large for anybody to take. */
static struct parcel *parcel_of(struct gossip *g, struct wire_writer *message) {
    struct buf whole = {0};
    wire_finish(message, &whole);
    wire_fini(message);
    if (whole.len > g->config.message_bytes_max) {
        gossip_note(g, "a message of %zu bytes is larger than peers accept", whole.len);
        buf_fini(&whole);
        return NULL;
    }
    struct parcel *parcel = mem_zero(1, sizeof *parcel);
    parcel->refs = 1;
    g->message_number++;
    uint32_t count = (uint32_t)(whole.len / PART_BYTES + 1);
    for (uint32_t i = 0; i < count; i++) {
        size_t at = (size_t)i * PART_BYTES, left = whole.len - at;
        add_part(g, parcel, bytes_of(whole.data + at, left < PART_BYTES ? left : PART_BYTES), i, count);
    }
    buf_fini(&whole);
    return parcel;
}

static void parcel_release(struct parcel *parcel) {
    if (!parcel || --parcel->refs) return;
    buf_fini(&parcel->frames);
    mem_free(parcel);
}

/* --------------------------------------------------------------- outboxes */

static void outbox_pop(struct outbox *o) {
    struct parcel *parcel = o->parcels[o->head];
    o->bytes -= parcel->frames.len;
    o->head = (o->head + 1) % OUTBOX_PARCELS;
    o->count--;
    o->at = 0;
    parcel_release(parcel);
}

/* An empty outbox takes a parcel of any size, else nothing large would ever go. */
static bool outbox_push(struct outbox *o, struct parcel *parcel) {
    if (o->count == OUTBOX_PARCELS) return false;
    if (o->count && o->bytes + parcel->frames.len > OUTBOX_BYTES_MAX) return false;
    o->parcels[(o->head + o->count++) % OUTBOX_PARCELS] = parcel;
    o->bytes += parcel->frames.len;
    parcel->refs++;
    return true;
}

static enum status send_frame(struct gossip *g, int link, struct bytes frame) {
    enum status status = g->config.transport.send(g->config.transport.self, link, frame);
    if (status == STATUS_OK) {
        g->stats.frames_sent++;
        g->stats.bytes_sent += frame.len;
    }
    return status;
}

static struct bytes frame_at(const struct parcel *parcel, size_t at) {
    size_t len = (size_t)get_be(parcel->frames.data + at, 4);
    assert(at + 4 + len <= parcel->frames.len);
    return bytes_of(parcel->frames.data + at + 4, len);
}

void transfer_flush(struct gossip *g, struct member *m) {
    struct outbox *o = &m->outbox;
    while (o->count && m->up) {
        const struct parcel *parcel = o->parcels[o->head];
        struct bytes frame = frame_at(parcel, o->at);
        if (send_frame(g, m->link, frame) != STATUS_OK) return;
        o->at += 4 + frame.len;
        if (o->at == parcel->frames.len) outbox_pop(o);
    }
}

static void send_parcel(struct gossip *g, struct member *m, struct parcel *parcel) {
    if (!parcel || !m->up) return;
    if (outbox_push(&m->outbox, parcel))
        transfer_flush(g, m);
    else
        g->stats.outbox_dropped++;
}

void transfer_send(struct gossip *g, struct member *m, struct wire_writer *message) {
    struct parcel *parcel = parcel_of(g, message);
    send_parcel(g, m, parcel);
    parcel_release(parcel);
}

void transfer_broadcast(struct gossip *g, struct wire_writer *message) {
    struct parcel *parcel = parcel_of(g, message);
    for (uint32_t i = 0; i < g->member_count; i++)
        if (member_counts(g->members[i])) send_parcel(g, g->members[i], parcel);
    parcel_release(parcel);
}

/* To one who is no member yet: what does not fit is lost, and said again soon. */
void transfer_send_link(struct gossip *g, int link, struct wire_writer *message) {
    struct parcel *parcel = parcel_of(g, message);
    if (parcel) (void)send_frame(g, link, frame_at(parcel, 0));
    parcel_release(parcel);
}

static void inbox_clear(struct gossip *g, struct inbox *in) {
    for (uint32_t i = 0; i < INBOX_EARLY; i++) {
        g->inbox_bytes -= in->early[i].bytes.len;
        buf_fini(&in->early[i].bytes);
    }
    g->inbox_bytes -= in->message.len;
    buf_fini(&in->message);
    *in = (struct inbox){.number = in->number};
}

void transfer_give_up(struct gossip *g, struct member *m) {
    if (!m->inbox.count) return;
    g->stats.parts_dropped += m->inbox.next;
    inbox_clear(g, &m->inbox);
}

void transfer_forget(struct gossip *g, struct member *m) {
    while (m->outbox.count) outbox_pop(&m->outbox);
    inbox_clear(g, &m->inbox);
}

/* --------------------------------------------------------------- arriving */

struct message {
    struct bytes bytes;
    struct replica_id sender;
    struct member *from; /* NULL: the sender is no member */
    uint64_t kind;
    struct wire_reader r; /* behind the kind */
};

static enum status message_open(struct gossip *g, struct message *m, struct bytes bytes, struct replica_id sender) {
    *m = (struct message){.bytes = bytes, .sender = sender, .from = member_find(g, sender)};
    enum status status = wire_open(&m->r, bytes, g->config.replicas);
    if (status == STATUS_OK) m->kind = wire_read_u64(&m->r);
    return status;
}

static bool is_stranger(const struct message *m) { return !m->from || !member_may_write(m->from); }

static void message_read(struct gossip *g, struct message *m) {
    struct wire_reader *r = &m->r;
    if (m->kind == MESSAGE_MEMBERS) members_read(g, r, m->sender);
    else if (is_stranger(m)) g->stats.frames_stranger++;
    else if (m->kind == MESSAGE_DELTAS) publish_read(g, r, m->from, m->bytes);
    else if (m->kind == MESSAGE_DIGEST) digest_read(g, r, m->from);
    else if (m->kind == MESSAGE_PULL) pull_read(g, r, m->from);
    else if (m->kind == MESSAGE_ANSWER) answer_read(g, r, m->from);
    else if (m->kind == MESSAGE_AUDIT) audit_read(g, r, m->from);
    else r->bad = true;
    if (r->bad) g->stats.messages_malformed++;
}

static void take_message(struct gossip *g, struct bytes bytes, struct replica_id sender) {
    struct message m;
    if (message_open(g, &m, bytes, sender) != STATUS_OK) {
        g->stats.messages_malformed++;
        return;
    }
    message_read(g, &m);
    wire_close(&m.r);
}

struct part {
    uint64_t number;
    uint32_t index, count;
    struct bytes bytes;
};

static void append_part(struct inbox *in, struct bytes bytes) {
    buf_put_bytes(&in->message, bytes);
    in->next++;
}

/* Index 0 finds a free place. */
static struct early_part *early_at(struct inbox *in, uint32_t index) {
    for (uint32_t i = 0; i < INBOX_EARLY; i++)
        if (in->early[i].index == index) return &in->early[i];
    return NULL;
}

static void keep_early(struct inbox *in, const struct part *part) {
    struct early_part *place = early_at(in, 0);
    place->index = part->index;
    buf_put_bytes(&place->bytes, part->bytes);
}

static void take_early(struct inbox *in) {
    struct early_part *early;
    while ((early = early_at(in, in->next))) {
        append_part(in, buf_bytes(&early->bytes));
        buf_fini(&early->bytes);
        early->index = 0;
    }
}

/* True when the message is whole. */
static bool join_part(struct gossip *g, struct inbox *in, const struct part *part) {
    if (part->number > in->number) {
        if (in->count) g->stats.parts_dropped += in->next;
        inbox_clear(g, in);
        in->number = part->number;
        in->count = part->count;
    }
    bool lacked = part->number == in->number && part->count == in->count && part->index >= in->next;
    bool early = lacked && part->index > in->next;
    if (!lacked || (early && early_at(in, part->index))) {
        g->stats.parts_dropped++;
        return false;
    }
    if (g->inbox_bytes + part->bytes.len > g->config.message_bytes_max || (early && !early_at(in, 0))) {
        g->stats.parts_dropped += in->next + 1;
        inbox_clear(g, in); /* it will never be whole: others need the room */
        return false;
    }
    g->inbox_bytes += part->bytes.len;
    if (early) {
        keep_early(in, part);
    } else {
        append_part(in, part->bytes);
        take_early(in);
    }
    return in->next == in->count;
}

/* Numbers grow with each message, whoever it is for: what is repeated does not say that its sender lives. */
static void hear(struct gossip *g, struct member *from, const struct part *part) {
    if (part->number < from->newest || (part->number == from->newest && part->index <= from->newest_index)) return;
    from->newest = part->number;
    from->newest_index = part->index;
    members_heard(g, from);
    if (part->count > 1) from->progress_us = g->now.mono_us;
}

static void take_part(struct gossip *g, struct replica_id sender, const struct part *part) {
    struct member *from = member_find(g, sender);
    if (from) hear(g, from, part);
    if (part->count == 1) {
        take_message(g, part->bytes, sender);
    } else if (!from) {
        g->stats.frames_stranger++;
    } else if (join_part(g, &from->inbox, part)) {
        /* Taken out first: reading may forget the member. */
        struct buf whole = from->inbox.message;
        from->inbox.message = (struct buf){0};
        g->inbox_bytes -= whole.len;
        from->inbox = (struct inbox){.number = part->number};
        take_message(g, buf_bytes(&whole), sender);
        buf_fini(&whole);
    }
}

static void count_refused(struct gossip *g, enum status status) {
    switch (status) {
    case STATUS_ERR_VERSION: g->stats.frames_version++; break;
    case STATUS_ERR_CLUSTER: g->stats.frames_cluster++; break;
    case STATUS_ERR_KEY: g->stats.frames_key++; break;
    default: g->stats.frames_malformed++; break;
    }
}

/* Into g->opened, where part->bytes lies then. */
static enum status open_part(struct gossip *g, struct bytes frame, struct replica_id *sender, struct part *part) {
    g->opened.len = 0;
    enum status status = frame_open(&g->config.keys, frame, &g->opened);
    if (status != STATUS_OK) return status;
    if (g->opened.len < PART_HEADER) return STATUS_ERR_MALFORMED;
    const uint8_t *at = g->opened.data;
    *sender = (struct replica_id){get_be(at, 8), get_be(at + 8, 8)};
    *part = (struct part){get_be(at + 16, 8), (uint32_t)get_be(at + 24, 4), (uint32_t)get_be(at + 28, 4),
                          bytes_of(at + PART_HEADER, g->opened.len - PART_HEADER)};
    return part->count && part->index < part->count ? STATUS_OK : STATUS_ERR_MALFORMED;
}

static void count_frame(struct gossip *g, struct bytes frame) {
    g->stats.frames_received++;
    g->stats.bytes_received += frame.len;
}

void transfer_frame(struct gossip *g, struct bytes frame) {
    struct replica_id sender;
    struct part part;
    count_frame(g, frame);
    enum status status = open_part(g, frame, &sender, &part);
    if (status == STATUS_OK)
        take_part(g, sender, &part);
    else
        count_refused(g, status);
}

bool transfer_deltas(struct gossip *g, struct bytes frame) {
    struct replica_id sender;
    struct part part;
    struct message m;
    if (open_part(g, frame, &sender, &part) != STATUS_OK || part.count != 1) return false;
    if (message_open(g, &m, part.bytes, sender) != STATUS_OK) return false;
    bool deltas = m.kind == MESSAGE_DELTAS && !is_stranger(&m) && m.from->lives; /* else it may move in: that hangs up */
    if (deltas) {
        count_frame(g, frame);
        hear(g, m.from, &part);
        message_read(g, &m);
    }
    wire_close(&m.r);
    return deltas;
}
