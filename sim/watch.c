/* --watch: what each node holds of a key, and when that changes. */
#include <stdio.h>

#include "net/command.h"
#include "sim/run.h"

static const char *const READS[][2] = {{"string", "GET"}, {"set", "SMEMBERS"}, {"hash", "HGETALL"}};

/* Not by a session: watching changes nothing of the run. */
static void put_texts(struct node *node, const char *command, const char *key, struct buf *out) {
    struct buf reply = {0};
    struct bytes argv[] = {bytes_str(command), bytes_str(key)};
    command_run(node, argv, 2, &reply);
    struct bytes rest = buf_bytes(&reply);
    char text[64];
    while (next_text(&rest, text, sizeof text)) buf_printf(out, " %s", text);
    buf_fini(&reply);
}

void watch(struct run *r, uint32_t index, const struct gossip_event *event) {
    static const char *const kinds[] = {"tick", "frame", "up", "down", "sent"};
    struct node *node = world_node(r->world, index);
    struct model_seen seen[ORIGINS_MAX];
    struct buf line = {0};
    put_texts(node, "TYPE", r->watch, &line);
    for (size_t i = 0; i < sizeof READS / sizeof *READS; i++)
        if (line.len == strlen(READS[i][0]) + 1 && !memcmp(line.data + 1, READS[i][0], line.len - 1)) {
            put_texts(node, READS[i][1], r->watch, &line);
            break;
        }
    uint32_t count = vector_of(node, node_shard_of(node, bytes_str(r->watch)), seen);
    buf_put_str(&line, " |");
    for (uint32_t i = 0; i < count; i++)
        buf_printf(&line, " n%llu:%llu", (unsigned long long)seen[i].node - 1, (unsigned long long)seen[i].counter);
    if (!bytes_equal(buf_bytes(&line), buf_bytes(&r->watched[index]))) {
        printf("%10lld n%u %-5s%.*s\n", (long long)world_now_us(r->world), index, kinds[event->kind], (int)line.len, (char *)line.data);
        r->watched[index].len = 0;
        buf_put_bytes(&r->watched[index], buf_bytes(&line));
    }
    buf_fini(&line);
}
