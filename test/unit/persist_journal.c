/* Records that survive torn ends and rot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "core/mem.h"
#include "persist/crc32c.h"
#include "persist/journal.h"
#include "sim/disk.h"

struct seen {
    uint32_t count, next;
    bool ordered;
    uint64_t refused, behind; /* bytes, and where the last of them end */
};

static bool see(void *arg, uint16_t kind, struct bytes payload) {
    struct seen *s = arg;
    uint32_t number;
    assert_int_equal(kind, 7);
    assert_true(payload.len >= sizeof number);
    memcpy(&number, payload.data, sizeof number);
    if (number < s->next) s->ordered = false;
    s->next = number + 1;
    s->count++;
    return true;
}

static void refuse(void *arg, uint64_t at, uint64_t len) {
    struct seen *s = arg;
    assert_true(at >= s->behind);
    s->behind = at + len;
    s->refused += len;
}

static void add(struct journal *j, uint32_t number, size_t len) {
    struct buf payload = {0};
    buf_put(&payload, &number, sizeof number);
    while (payload.len < len) buf_put_byte(&payload, (uint8_t)(number * 31 + payload.len));
    journal_add(j, 7, buf_bytes(&payload));
    buf_fini(&payload);
}

static struct seen read_back(struct disk_port *disk, struct journal_report *report) {
    struct seen seen = {.ordered = true};
    *report = (struct journal_report){0};
    assert_int_equal(journal_read(disk, "j", see, refuse, &seen, report), STATUS_OK);
    return seen;
}

static void crc_is_castagnolis(void **state) {
    (void)state;
    uint8_t zeros[32] = {0}, ones[32];
    memset(ones, 0xff, sizeof ones);
    assert_int_equal(crc32c(0, bytes_str("123456789")), 0xe3069283u); /* the check value of the catalogue */
    assert_int_equal(crc32c(0, bytes_of(zeros, 32)), 0x8a9136aau);    /* RFC 3720, B.4 */
    assert_int_equal(crc32c(0, bytes_of(ones, 32)), 0x62a8ab43u);
    assert_int_equal(crc32c(crc32c(0, bytes_str("1234")), bytes_str("56789")), 0xe3069283u);
}

static void what_is_synced_is_read_after_a_crash(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed < 300; seed++) {
        struct disk_sim *sim = disk_sim_new(seed);
        struct disk_port disk = disk_sim_port(sim);
        struct journal *j = journal_new(&disk);
        struct journal_report report;
        struct rng rng;
        rng_seed(&rng, seed);
        uint32_t synced = 0, added = 0;
        assert_int_equal(journal_start(j, "j", false), STATUS_OK);
        for (int i = 0; i < 40; i++) {
            add(j, added++, 4 + (size_t)rng_below(&rng, 300));
            if (rng_percent(&rng, 30)) assert_int_equal(journal_write(j), STATUS_OK);
            if (!rng_percent(&rng, 20)) continue;
            assert_int_equal(journal_sync(j), STATUS_OK);
            synced = added;
        }
        journal_free(j);
        disk_sim_crash(sim);
        struct seen seen = read_back(&disk, &report);
        assert_in_range(seen.count, synced, added);
        assert_true(seen.ordered);
        assert_int_equal(seen.next, seen.count);
        assert_int_equal(report.damaged, 0);
        disk_sim_free(sim);
    }
}

static void a_bit_that_rots_costs_its_record_alone(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed < 300; seed++) {
        struct disk_sim *sim = disk_sim_new(seed);
        struct disk_port disk = disk_sim_port(sim);
        struct journal *j = journal_new(&disk);
        struct journal_report report;
        assert_int_equal(journal_start(j, "j", false), STATUS_OK);
        for (uint32_t i = 0; i < 30; i++) add(j, i, 4 + i * 7);
        assert_int_equal(journal_sync(j), STATUS_OK);
        uint64_t all = disk_sim_bytes(sim);
        journal_free(j);
        assert_true(disk_sim_rot(sim));
        struct seen seen = read_back(&disk, &report);
        assert_int_equal(seen.count, 29);
        assert_true(seen.ordered);
        assert_int_equal(report.damaged + (report.torn_bytes > 0), 1);
        assert_int_equal(report.damaged_bytes, seen.refused);
        assert_int_equal(report.bytes + report.damaged_bytes + report.torn_bytes, all);
        disk_sim_free(sim);
    }
}

/* A machine writes its pages in any order: what was not synced may be there but for a part in its midst. */
static void a_hole_in_what_was_not_synced_costs_what_was_in_it(void **state) {
    (void)state;
    uint64_t behind = 0;
    for (uint64_t seed = 1; seed < 300; seed++) {
        struct disk_sim *sim = disk_sim_new(seed);
        struct disk_port disk = disk_sim_port(sim);
        struct journal *j = journal_new(&disk);
        struct journal_report report;
        disk_sim_holes(sim, 100);
        assert_int_equal(journal_start(j, "j", false), STATUS_OK);
        for (uint32_t i = 0; i < 40; i++) {
            add(j, i, 4 + i * 7);
            if (i == 9) assert_int_equal(journal_sync(j), STATUS_OK);
        }
        assert_int_equal(journal_write(j), STATUS_OK);
        journal_free(j);
        disk_sim_crash(sim);
        struct seen seen = read_back(&disk, &report);
        assert_in_range(seen.count, 10, 40);
        assert_true(seen.ordered);
        assert_int_equal(report.damaged_bytes, seen.refused);
        behind += report.damaged > 0;
        disk_sim_free(sim);
    }
    assert_true(behind > 100);
}

static void a_full_disk_fails_and_a_new_file_goes_on(void **state) {
    (void)state;
    struct disk_sim *sim = disk_sim_new(1);
    struct disk_port disk = disk_sim_port(sim);
    struct journal *j = journal_new(&disk);
    struct journal_report report;
    assert_int_equal(journal_start(j, "old", false), STATUS_OK);
    add(j, 0, 100);
    assert_int_equal(journal_sync(j), STATUS_OK);
    disk_sim_limit(sim, 300);
    add(j, 1, 1000);
    assert_int_equal(journal_write(j), STATUS_ERR_FULL);
    assert_int_equal(journal_status(j), STATUS_ERR_FULL);
    add(j, 2, 10);
    assert_int_equal(journal_sync(j), STATUS_ERR_FULL);
    assert_int_equal(journal_bytes(j), JOURNAL_HEADER_BYTES + 100);
    disk_sim_limit(sim, UINT64_MAX);
    assert_int_equal(journal_start(j, "j", false), STATUS_ERR_FULL); /* unless who calls knows of it */
    assert_int_equal(journal_status(j), STATUS_ERR_FULL);
    assert_int_equal(journal_start(j, "j", true), STATUS_OK);
    assert_int_equal(journal_bytes(j), 0);
    assert_int_equal(journal_sync(j), STATUS_ERR_FULL); /* for who waits still for what was lost */
    assert_int_equal(journal_write(j), STATUS_ERR_FULL);
    add(j, 3, 10);
    assert_int_equal(journal_sync(j), STATUS_OK);
    struct seen seen = read_back(&disk, &report);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.next, 4);
    report = (struct journal_report){0};
    assert_int_equal(journal_read(&disk, "old", see, refuse, &seen, &report), STATUS_OK);
    assert_int_equal(report.records, 1);
    assert_int_equal(report.torn_bytes, 0); /* the part of a record was cut off again */
    journal_free(j);
    disk_sim_free(sim);
}

static void a_sync_that_fails_is_told_to_who_waits(void **state) {
    (void)state;
    struct disk_sim *sim = disk_sim_new(1);
    struct disk_port disk = disk_sim_port(sim);
    struct journal *j = journal_new(&disk);
    assert_int_equal(journal_start(j, "j", false), STATUS_OK);
    add(j, 0, 10);
    disk_sim_fail(sim, 0, 1000000);
    assert_int_equal(journal_write(j), STATUS_OK);
    assert_int_equal(journal_sync(j), STATUS_ERR_IO);
    assert_int_equal(journal_write(j), STATUS_ERR_IO);
    journal_free(j);
    disk_sim_free(sim);
}

/* A disk on which another thread writes while the old file is synced, and that counts the files that are open. */
struct busy_disk {
    struct disk_port disk;
    struct journal *journal;
    bool writes;
    int opened;
    bool fails;
    atomic_bool begun, syncing;
};

static enum status busy_sync(void *self, int file) {
    struct busy_disk *b = self;
    enum status status = b->disk.sync(b->disk.self, file);
    if (b->writes) {
        b->writes = false;
        add(b->journal, 1, 10);
        assert_int_equal(journal_write(b->journal), STATUS_OK);
    }
    return status;
}
static enum status busy_open(void *self, const char *name, int *file) {
    struct busy_disk *b = self;
    b->opened++;
    return b->disk.open(b->disk.self, name, file);
}
static enum status busy_cut(void *self, int file, uint64_t size) {
    struct busy_disk *b = self;
    return b->disk.cut(b->disk.self, file, size);
}
static enum status busy_append(void *self, int file, struct bytes bytes) {
    struct busy_disk *b = self;
    return b->fails ? STATUS_ERR_IO : b->disk.append(b->disk.self, file, bytes);
}
static void busy_close(void *self, int file) {
    struct busy_disk *b = self;
    assert_false(atomic_load(&b->syncing));
    b->opened--;
    b->disk.close(b->disk.self, file);
}

static void what_is_written_while_a_new_file_begins_is_synced(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed < 20; seed++) {
        struct disk_sim *sim = disk_sim_new(seed);
        struct disk_port disk = disk_sim_port(sim);
        struct busy_disk busy = {.disk = disk};
        struct journal_report report;
        busy.journal = journal_new(&(struct disk_port){.open = busy_open, .close = busy_close, .append = busy_append, .sync = busy_sync, .self = &busy});
        assert_int_equal(journal_start(busy.journal, "j", false), STATUS_OK);
        add(busy.journal, 0, 10);
        busy.writes = true;
        assert_int_equal(journal_start(busy.journal, "new", false), STATUS_OK);
        assert_false(busy.writes);
        assert_int_equal(journal_sync(busy.journal), STATUS_OK);
        disk_sim_crash(sim);
        struct seen seen = read_back(&disk, &report);
        assert_int_equal(seen.count, 2);
        journal_free(busy.journal);
        disk_sim_free(sim);
    }
}

/* The keeper tries it each second. */
static void a_new_file_that_is_not_begun_is_closed(void **state) {
    (void)state;
    struct disk_sim *sim = disk_sim_new(1);
    struct busy_disk busy = {.disk = disk_sim_port(sim)};
    struct journal *j = journal_new(&(struct disk_port){.open = busy_open, .close = busy_close, .append = busy_append, .cut = busy_cut, .sync = busy_sync, .self = &busy});
    assert_int_equal(journal_start(j, "j", false), STATUS_OK);
    busy.fails = true;
    add(j, 0, 10);
    for (int i = 0; i < 3; i++) assert_int_equal(journal_start(j, "new", false), STATUS_ERR_IO);
    assert_int_equal(busy.opened, 1);
    assert_int_equal(journal_start(j, "new", true), STATUS_OK);
    assert_int_equal(busy.opened, 1);
    journal_free(j);
    assert_int_equal(busy.opened, 0);
    disk_sim_free(sim);
}

static enum status slow_sync(void *self, int file) {
    struct busy_disk *b = self;
    atomic_store(&b->syncing, true);
    atomic_store(&b->begun, true);
    usleep(20000); /* in which the other thread would come to closing the file, if it did not wait */
    atomic_store(&b->syncing, false);
    return b->disk.sync(b->disk.self, file);
}

static void *sync_in_thread(void *journal) {
    enum status status = journal_sync(journal);
    (void)status; /* it is well, unless it hears of the other's failure as well */
    return NULL;
}

static void a_file_is_not_closed_while_it_is_synced(void **state) {
    (void)state;
    struct disk_sim *sim = disk_sim_new(1);
    struct busy_disk busy = {.disk = disk_sim_port(sim)};
    struct journal *j = journal_new(&(struct disk_port){.open = busy_open, .close = busy_close, .append = busy_append, .cut = busy_cut, .sync = slow_sync, .self = &busy});
    pthread_t thread;
    assert_int_equal(journal_start(j, "j", false), STATUS_OK);
    add(j, 0, 10);
    assert_int_equal(pthread_create(&thread, NULL, sync_in_thread, j), 0);
    while (!atomic_load(&busy.begun)) usleep(100);
    busy.fails = true;
    add(j, 1, 10);
    assert_int_equal(journal_write(j), STATUS_ERR_IO); /* now nobody waits for that sync any more */
    assert_int_equal(journal_start(j, "new", true), STATUS_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    journal_free(j);
    disk_sim_free(sim);
}

/* Longer than what is read at a time, which moves then. */
static void long_records_are_read_whole(void **state) {
    (void)state;
    struct disk_sim *sim = disk_sim_new(1);
    struct disk_port disk = disk_sim_port(sim);
    struct journal *j = journal_new(&disk);
    struct journal_report report;
    assert_int_equal(journal_start(j, "j", false), STATUS_OK);
    for (uint32_t i = 0; i < 12; i++) add(j, i, i % 3 ? 1000 : (size_t)i * 700000 + 4);
    assert_int_equal(journal_sync(j), STATUS_OK);
    struct seen seen = read_back(&disk, &report);
    assert_int_equal(seen.count, 12);
    assert_true(seen.ordered);
    assert_int_equal(report.damaged_bytes + report.torn_bytes, 0);
    assert_int_equal(report.bytes, disk_sim_bytes(sim));
    journal_free(j);
    disk_sim_free(sim);
}

/* A disk with a file in which a record follows on so many bytes that are none. */
#define GARBAGE_BYTES (64u << 20)

static enum status garbage_open(void *self, const char *name, int *file) {
    (void)self, (void)name;
    *file = 0;
    return STATUS_OK;
}
static void garbage_close(void *self, int file) { (void)self, (void)file; }
static enum status garbage_read(void *self, int file, uint64_t at, size_t len, struct buf *out) {
    const struct buf *record = self;
    (void)file;
    for (; len && at < GARBAGE_BYTES; at++, len--) buf_put_byte(out, 'A');
    size_t from = at < GARBAGE_BYTES + record->len ? (size_t)(at - GARBAGE_BYTES) : record->len, left = record->len - from;
    buf_put(out, record->data + from, left < len ? left : len);
    return STATUS_OK;
}

static size_t greatest; /* piece of memory that was asked for */
static void *resize_noted(void *old, size_t size) {
    if (size > greatest) greatest = size;
    return realloc(old, size);
}

static void garbage_of_any_length_takes_no_memory(void **state) {
    (void)state;
    struct disk_sim *sim = disk_sim_new(1);
    struct disk_port disk = disk_sim_port(sim);
    struct journal *j = journal_new(&disk);
    struct journal_report report = {0};
    struct buf record = {0};
    int file;
    assert_int_equal(journal_start(j, "j", false), STATUS_OK);
    add(j, 5, 100);
    assert_int_equal(journal_sync(j), STATUS_OK);
    assert_int_equal(disk.open(disk.self, "j", &file), STATUS_OK);
    assert_int_equal(disk.read(disk.self, file, 0, 1000, &record), STATUS_OK);
    disk.close(disk.self, file);

    struct disk_port garbage = {.open = garbage_open, .close = garbage_close, .read = garbage_read, .self = &record};
    struct seen seen = {.ordered = true};
    mem_use(&(struct mem_port){resize_noted, free});
    assert_int_equal(journal_read(&garbage, "j", see, refuse, &seen, &report), STATUS_OK);
    mem_use(NULL);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.refused, GARBAGE_BYTES);
    assert_int_equal(seen.behind, GARBAGE_BYTES);
    assert_in_range(greatest, 1, 8u << 20);
    buf_fini(&record);
    journal_free(j);
    disk_sim_free(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_castagnolis),
        cmocka_unit_test(what_is_synced_is_read_after_a_crash),
        cmocka_unit_test(a_bit_that_rots_costs_its_record_alone),
        cmocka_unit_test(a_hole_in_what_was_not_synced_costs_what_was_in_it),
        cmocka_unit_test(a_full_disk_fails_and_a_new_file_goes_on),
        cmocka_unit_test(a_sync_that_fails_is_told_to_who_waits),
        cmocka_unit_test(what_is_written_while_a_new_file_begins_is_synced),
        cmocka_unit_test(a_new_file_that_is_not_begun_is_closed),
        cmocka_unit_test(a_file_is_not_closed_while_it_is_synced),
        cmocka_unit_test(long_records_are_read_whole),
        cmocka_unit_test(garbage_of_any_length_takes_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
