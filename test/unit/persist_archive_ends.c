/* Who is a node, and where streams end: processes that die, that stand still while others go on, that are held for gone and live; and
 * what they left is void, or is read to its end. */
#include "persist/archive_state.h" /* to stop a site at one step of its archive */
#include "test/unit/archive_world.h"

static void second_process_stops_with(int64_t list_lag_us) {
    struct world w;
    open_world(&w, 1);
    set_faults(&w, 0, list_lag_us);
    struct site *first = start(&w, 0, 1);
    assert_true(reaches(&w, first, ARCHIVE_STREAMING, 10 * SECOND));
    w.options.place = "elsewhere";
    assert_true(reaches(&w, start(&w, 1, 1), ARCHIVE_STOPPED, 20 * SECOND));
    assert_int_equal(archive_phase(first->archive), ARCHIVE_STREAMING);
    stop(first);
    w.options.place = "here";
    first = start(&w, 0, 1); /* from its own place at once: who claimed since was refused */
    assert_true(reaches(&w, first, ARCHIVE_STREAMING, 2 * SECOND));
    stop(first); /* dead: the next one from elsewhere waits a little, then is the node */
    w.options.place = "elsewhere";
    struct site *third = start(&w, 0, 1);
    assert_false(reaches(&w, third, ARCHIVE_READING, SECOND));
    assert_true(reaches(&w, third, ARCHIVE_STREAMING, 20 * SECOND));
    stop(third);
    struct site *fourth = start(&w, 0, 1); /* from the same place, at once */
    assert_true(reaches(&w, fourth, ARCHIVE_STREAMING, 2 * SECOND));
    /* One that slept while another became the node stops when it wakes. */
    w.sites[0] = NULL;
    w.options.place = "a third place";
    struct site *fifth = start(&w, 2, 1);
    assert_true(reaches(&w, fifth, ARCHIVE_STREAMING, 20 * SECOND));
    w.sites[0] = fourth;
    assert_true(reaches(&w, fourth, ARCHIVE_STOPPED, 20 * SECOND));
    assert_int_equal(archive_phase(fifth->archive), ARCHIVE_STREAMING);
    close_world(&w);
}
static void second_process_of_a_node_stops(void **state) {
    (void)state;
    second_process_stops_with(0);
    second_process_stops_with(3 * SECOND);
    second_process_stops_with(1000 * SECOND);
}

/* The image of a virtual machine, started twice: even the replica is the same. */
static void copies_of_a_process_stop(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct site *first = start(&w, 0, 1);
    assert_true(reaches(&w, first, ARCHIVE_STREAMING, 10 * SECOND));
    w.incarnations--;
    struct site *copy = start(&w, 1, 1);
    assert_true(reaches(&w, copy, ARCHIVE_STREAMING, 10 * SECOND));
    for (int i = 0; i < 20; i++) {
        write_key(first, 1, "x");
        write_key(copy, 2, "y");
        run(&w, SECOND);
    }
    assert_true(archive_phase(first->archive) == ARCHIVE_STOPPED || archive_phase(copy->archive) == ARCHIVE_STOPPED);
    close_world(&w);
}

/* The cluster may say that what a node brings back is void: it is not passed on before there was time to, unless the node ends. */
static void what_a_start_brings_waits_to_be_called_void(void **state) {
    (void)state;
    for (int ends = 0; ends < 2; ends++) {
        struct world w;
        open_world(&w, 1);
        struct site *was = start(&w, 0, 1);
        assert_true(reaches(&w, was, ARCHIVE_STREAMING, 10 * SECOND));
        was->due_us = INT64_MAX; /* it streams no more */
        w.sites[0] = NULL;
        write_key(was, 1, "on the disk alone");
        struct site *s = start_again(&w, 1, was);
        assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
        run(&w, 5 * SECOND);
        struct site *reader = start(&w, 2, 3);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
        assert_false(has(reader, 1, "on the disk alone"));
        stop(reader);
        if (ends) assert_true(flushes(&w, s, SECOND));
        else run(&w, 7 * SECOND);
        reader = start(&w, 2, 4);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
        assert_true(has(reader, 1, "on the disk alone"));
        w.sites[0] = was;
        close_world(&w);
    }
}

/* What it had read of them is void with all the rest: it must not count them as read before it has done so again. */
static void who_starts_over_reads_the_dead_anew(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct site *a, *b;
    start_two(&w, &a, &b);
    struct replica_id dead = a->id;
    stop(a);
    for (int again = 0; again < 2; again++) {
        assert_false(archive_is_closed(b->archive, dead, true, true));
        assert_true(finds_closed(&w, b, dead, true, true, 10 * SECOND));
        assert_true(has(b, 1, "streamed"));
        on_closed(b, b->id);
        assert_false(has(b, 1, "streamed"));
    }
    close_world(&w);
}

/* Resets may be forgotten that it never heard of: had it been up, it would have been told so. */
static void whose_stream_was_closed_while_it_was_down_starts_over(void **state) {
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        struct world w;
        open_world(&w, 1);
        struct site *a, *b;
        start_two(&w, &a, &b);
        goes_down_with_more(&w, a);
        if (closed) assert_true(finds_closed(&w, b, a->id, true, true, 10 * SECOND));
        for (int again = 0; again < 3; again++) { /* it closes the stream itself, if nobody else has; and again it ends before it is up */
            struct site *next = start_again(&w, 2, a);
            assert_true(reaches(&w, next, ARCHIVE_STREAMING, 30 * SECOND));
            assert_int_equal(next->closed, closed);
            assert_true(has(next, 1, "streamed"));
            assert_int_equal(has(next, 2, "on the disk alone"), !closed);
            stop(next);
        }
        w.sites[0] = a;
        close_world(&w);
    }
}

static void that_a_stream_was_closed_is_found_long_after(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    w.options.settings.rewrite_bytes_min = 1;
    struct site *a, *b;
    start_two(&w, &a, &b);
    goes_down_with_more(&w, a);
    assert_true(finds_closed(&w, b, a->id, true, true, 10 * SECOND));
    nine_hours_of_checkpoints(&w, b);
    struct site *next = start_again(&w, 2, a);
    assert_true(reaches(&w, next, ARCHIVE_STREAMING, 30 * SECOND));
    assert_int_equal(next->closed, 1);
    assert_false(has(next, 2, "on the disk alone"));
    w.sites[0] = a;
    close_world(&w);
}

/* What its next process closed is garbage some hours later, and tells a node that comes then nothing else. */
static void what_was_closed_and_collected_is_closed(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    w.options.settings.rewrite_bytes_min = 1;
    struct site *a = start(&w, 0, 1);
    struct replica_id first = a->id;
    assert_true(reaches(&w, a, ARCHIVE_STREAMING, 10 * SECOND));
    write_key(a, 1, "streamed");
    assert_true(flushes(&w, a, 10 * SECOND));
    stop(a);
    a = start(&w, 0, 1);
    assert_true(reaches(&w, a, ARCHIVE_STREAMING, 10 * SECOND));
    nine_hours_of_checkpoints(&w, a);
    struct site *b = start(&w, 1, 2);
    assert_true(reaches(&w, b, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(has(b, 1, "streamed"));
    assert_false(archive_is_closed(b->archive, first, false, false));
    assert_true(finds_closed(&w, b, first, false, false, 30 * SECOND));
    assert_false(archive_is_closed(b->archive, first, false, true));
    close_world(&w);
}

static void who_starts_over_in_the_midst_of_a_step_streams_all_of_it(void **state) {
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        struct world w;
        struct archive_status status;
        open_world(&w, 1);
        struct site *a = start(&w, 0, 1), *b = start(&w, 1, 2);
        assert_true(reaches(&w, a, ARCHIVE_STREAMING, 10 * SECOND));
        assert_true(reaches(&w, b, ARCHIVE_STREAMING, 10 * SECOND));
        for (uint64_t i = 0; i < 12; i++) write_key(a, i % 3, "before");
        run(&w, 5 * SECOND);
        if (closed) assert_true(finds_closed(&w, b, a->id, true, true, 10 * SECOND));
        run(&w, SECOND);
        a->starts_over = true;
        run(&w, 30 * SECOND);
        assert_true(has(a, 2, "since"));
        struct site *reader = start(&w, 2, 3);
        assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 30 * SECOND));
        assert_true(has(reader, 2, "since"));
        archive_status(reader->archive, w.now_us, &status);
        assert_int_equal(status.read_gaps, 0);
        close_world(&w);
    }
}

static void a_checkpoint_of_who_starts_over_is_not_named(void **state) {
    (void)state;
    struct world w;
    struct archive_status status;
    open_world(&w, 1);
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    for (uint64_t k = 0; k < SHARDS; k++) write_key(s, k, "x");
    assert_true(flushes(&w, s, 10 * SECOND));
    s->starts_over_late = true;
    archive_save(s->archive);
    run(&w, 2 * SECOND);
    assert_int_equal(s->closed, 1);
    archive_status(s->archive, w.now_us, &status);
    assert_int_equal(status.checkpoints, 0);
    archive_save(s->archive);
    run(&w, 5 * SECOND);
    archive_status(s->archive, w.now_us, &status);
    assert_int_equal(status.checkpoints, 1);
    close_world(&w);
}

static void looking_does_not_close(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct site *a, *b;
    start_two(&w, &a, &b);
    struct replica_id first = a->id;
    for (int i = 0; i < 100; i++, run(&w, SECOND / 10)) assert_false(archive_is_closed(b->archive, first, false, false));
    assert_true(has(b, 1, "streamed"));
    stop(a);
    a = start(&w, 0, 1); /* it closes what it wrote before */
    assert_true(reaches(&w, a, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(finds_closed(&w, b, first, false, false, 10 * SECOND));
    for (int i = 0; i < 100; i++, run(&w, SECOND / 10)) assert_false(archive_is_closed(b->archive, first, false, true));
    assert_true(finds_closed(&w, b, first, true, true, 10 * SECOND));
    close_world(&w);
}

/* The ends of the streams of two that were this node are there, and cannot be had: a start gives both up, and asks for neither again. */
static void hidden_ends_are_not_asked_for_without_end(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct replica_id dead[2] = {{1, 1000}, {1, 1001}};
    for (uint64_t number = 0; number < 2; number++) {
        for (int i = 0; i < 2; i++) {
            char key[LAYOUT_KEY_BYTES];
            layout_segment_key(key, dead[i], number);
            put(&w, key, "rot");
        }
        run(&w, 100 * SECOND * (number == 0));
    }
    set_faults(&w, 0, 50 * SECOND);
    w.blind = true;
    struct site *s = start(&w, 0, 1);
    struct bucket_stats before, after;
    bucket_sim_stats(w.bucket, &before);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    bucket_sim_stats(w.bucket, &after);
    assert_true(after.hidden > before.hidden);
    assert_true(after.requests - before.requests < 100);
    close_world(&w);
}

/* ------------------------------------------------------------ standing still */

/* Until that step of a start, or of a look at the end of a stream; and no further, until it is put back. */
static void stands_still(struct world *w, uint32_t place) { w->sites[place] = NULL; }

static void writes_on(struct world *w, struct site *s, int seconds) {
    for (int i = 0; i < seconds; i++) {
        write_key(s, 1, "goes on");
        run(w, SECOND);
        if (i % 10 == 9) archive_save(s->archive);
    }
}

/* Another stands still before it makes its claim, for so long that the number has been taken and deleted: it is not the node. */
static void an_old_number_is_no_claim(void **state) {
    (void)state;
    for (int late_list = 0; late_list < 2; late_list++) {
        struct world w;
        open_world(&w, 1);
        struct site *s = start(&w, 0, 1);
        assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
        set_faults(&w, 0, late_list * 10 * SECOND);
        run(&w, 30 * SECOND);
        w.options.place = "elsewhere";
        struct site *late = start(&w, 1, 1);
        while (late->archive->claim.step != CLAIM_LOOKING) run(&w, 1000);
        stands_still(&w, 1);
        w.options.place = "here";
        for (int i = 0; i < 3; i++) {
            stop(s);
            s = start(&w, 0, 1);
            assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
            run(&w, 15 * SECOND);
        }
        w.sites[1] = late;
        assert_true(reaches(&w, late, ARCHIVE_STOPPED, 30 * SECOND));
        assert_int_equal(archive_phase(s->archive), ARCHIVE_STREAMING);
        close_world(&w);
    }
}

/* Where lists are very late, what went before an object is how it is found: claims, and manifests; whatever else lies behind them. */
static void what_leads_to_the_newest_stays(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    w.options.settings.checkpoints = 1;
    w.options.settings.rewrite_percent = 0;
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    put(&w, "manifest/zzz", "somebody else's");
    put(&w, "claim/0000000000000001/zzz", "likewise");
    write_key(s, 0, "x");
    archive_save(s->archive);
    run(&w, 10 * SECOND);
    set_faults(&w, 0, 5 * SECOND);
    for (uint64_t i = 0; i < 3; i++) {
        stop(s);
        s = start(&w, 0, 1);
        assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
        write_key(s, i, "x");
        archive_save(s->archive);
        run(&w, 3 * SECOND);
    }
    struct site *reader = start(&w, 2, 3);
    w.options.place = "elsewhere";
    struct site *second = start(&w, 1, 1);
    assert_true(reaches(&w, reader, ARCHIVE_STREAMING, 10 * SECOND));
    for (uint64_t i = 0; i < 3; i++) assert_true(has(reader, i, "x"));
    assert_true(reaches(&w, second, ARCHIVE_STOPPED, 20 * SECOND));
    assert_int_equal(archive_phase(s->archive), ARCHIVE_STREAMING);
    close_world(&w);
}

/* A process that streamed nothing goes down, its stream is ended, and the next one starts before that is listed. */
static void what_was_ended_just_now_is_void(void **state) {
    (void)state;
    for (int64_t list_lag_us = 0; list_lag_us <= 60 * SECOND; list_lag_us += 30 * SECOND) {
        struct world w;
        struct site *a, *b;
        open_world(&w, 1);
        set_faults(&w, 0, list_lag_us);
        start_two(&w, &a, &b);
        run(&w, 20 * SECOND);
        stands_still(&w, 0);
        struct site *second = start_again(&w, 2, a);
        assert_true(reaches(&w, second, ARCHIVE_STREAMING, 30 * SECOND));
        write_key(second, 2, "on the disk alone");
        stands_still(&w, 2);
        assert_true(finds_closed(&w, b, second->id, true, true, 10 * SECOND));
        struct site *third = start_again(&w, 3, second);
        assert_true(reaches(&w, third, ARCHIVE_STREAMING, 30 * SECOND));
        assert_int_equal(third->closed, 1);
        assert_false(has(third, 2, "on the disk alone"));
        w.sites[0] = a;
        w.sites[2] = second;
        close_world(&w);
    }
}

/* Who ends a stream stands still between its look and the end that it makes; the writer goes on meanwhile, and its segments become garbage. */
static struct replica_id leaves_a_gap(struct world *w, struct site **a, struct site **b) {
    w->options.settings.rewrite_bytes_min = 1;
    start_two(w, a, b);
    archive_is_closed((*b)->archive, (*a)->id, true, true);
    while ((*b)->archive->tails.step != TAIL_READING && (*b)->archive->tails.step != TAIL_SEARCHING) run(w, 1000);
    stands_still(w, 1);
    writes_on(w, *a, 30);
    run(w, 30 * SECOND);
    w->sites[1] = *b;
    return (*a)->id;
}

static void an_end_is_the_last_of_its_stream(void **state) {
    (void)state;
    struct world w;
    struct site *a, *b;
    open_world(&w, 1);
    struct replica_id id = leaves_a_gap(&w, &a, &b);
    assert_true(finds_closed(&w, b, id, true, true, 10 * SECOND));
    assert_true(has(b, 1, "goes on"));
    write_key(a, 2, "after");
    run(&w, 10 * SECOND);
    assert_int_equal(a->closed, 1);
    close_world(&w);
}

/* What a process sent last may arrive when it is dead and its stream has ended twice, by its next one and by others: not in a free place. */
static void no_place_before_an_end_is_free(void **state) {
    (void)state;
    struct world w;
    struct site *a, *b;
    char key[LAYOUT_KEY_BYTES];
    uint64_t bytes;
    open_world(&w, 1);
    w.options.settings.rewrite_bytes_min = 1;
    start_two(&w, &a, &b);
    struct replica_id dead = a->id;
    hear(b, a);
    layout_segment_key(key, dead, 0);
    *(strrchr(key, '/') + 1) = 0;
    uint64_t last = count_of(&w, key, &bytes); /* is on its way */
    stop(a);
    assert_true(reaches(&w, start(&w, 0, 1), ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(finds_closed(&w, b, dead, true, true, 10 * SECOND));
    for (uint64_t i = 0; i < 4; i++) {
        write_key(b, i, "x");
        archive_save(b->archive);
        run(&w, 10 * SECOND);
    }
    assert_int_equal(count_of(&w, key, &bytes), 2);
    layout_segment_key(key, dead, last);
    struct store_request head = {.op = STORE_HEAD, .key = bytes_str(key)};
    ask(&w, &head);
    nine_hours_of_checkpoints(&w, b);
    *(strrchr(key, '/') + 1) = 0;
    assert_int_equal(count_of(&w, key, &bytes), 1);
    close_world(&w);
}

/* Nor can one be ended behind its writer that was idle for hours, and lives. */
static void the_place_of_an_idle_writer_stays(void **state) {
    (void)state;
    struct world w;
    struct site *a, *b;
    open_world(&w, 1);
    w.options.settings.rewrite_bytes_min = 1;
    start_two(&w, &a, &b);
    struct replica_id id = a->id;
    hear(b, a);
    nine_hours_of_checkpoints(&w, b);
    assert_true(finds_closed(&w, b, id, true, true, 10 * SECOND));
    write_key(a, 2, "after");
    run(&w, 10 * SECOND);
    assert_int_equal(a->closed, 1);
    close_world(&w);
}

/* ------------------------------------------------------- read before it counts */

/* One writes and makes checkpoints until its segments are garbage, then dies; the other has heard nothing of it. */
static struct replica_id dies_covered(struct world *w, struct site **lives) {
    w->options.settings.rewrite_percent = 0;
    w->options.part_bytes = 1000000;
    struct site *dies = start(w, 0, 1);
    *lives = start(w, 1, 2);
    archive_alive((*lives)->archive, &dies->id, 1);
    assert_true(reaches(w, dies, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(reaches(w, *lives, ARCHIVE_STREAMING, 10 * SECOND));
    for (int i = 0; i < 4; i++) {
        write_key(dies, 1, "x");
        assert_true(flushes(w, dies, SECOND));
        archive_save(dies->archive);
        run(w, 8 * SECOND);
    }
    struct replica_id id = dies->id;
    stop(dies);
    assert_false(has(*lives, 1, "x"));
    return id;
}

/* The manifests that were listed are gone when they are to be read. */
static void manifests_that_vanish_are_looked_for_again(void **state) {
    (void)state;
    struct world w;
    struct site *lives, *third;
    open_world(&w, 1);
    struct replica_id id = dies_covered(&w, &lives);
    third = start(&w, 2, 3);
    assert_true(reaches(&w, third, ARCHIVE_STREAMING, 10 * SECOND));
    while (lives->archive->tails.step != TAIL_MANIFESTS) {
        archive_is_closed(lives->archive, id, true, true);
        run(&w, 1000);
    }
    stands_still(&w, 1);
    for (int i = 0; i < 4; i++) {
        write_key(third, 2, "z");
        archive_save(third->archive);
        run(&w, 8 * SECOND);
    }
    w.sites[1] = lives;
    assert_true(finds_closed(&w, lives, id, true, true, 60 * SECOND));
    assert_true(has(lives, 1, "x"));
    close_world(&w);
}

/* Two manifests cover it, and a part of the newer one rots: those that live read the older one, as those that start do. */
static void one_object_may_rot_of_the_dead(void **state) {
    (void)state;
    struct world w;
    struct site *lives;
    open_world(&w, 1);
    struct replica_id id = dies_covered(&w, &lives);
    struct store_request list = {.op = STORE_LIST, .key = bytes_str("checkpoint/"), .limit = STORE_PAGE_MAX};
    char key[LAYOUT_KEY_BYTES];
    ask(&w, &list);
    snprintf(key, sizeof key, "%.*s", (int)list.entries[list.count - 1].key.len, (const char *)list.entries[list.count - 1].key.data);
    store_request_fini(&list);
    put(&w, key, "rot");
    assert_true(finds_closed(&w, lives, id, true, true, 30 * SECOND));
    assert_true(has(lives, 1, "x"));
    close_world(&w);
}

/* Nothing is left of the stream but what checkpoints have, and who asks has lost what it had of it. */
static void collected_streams_are_read_from_checkpoints(void **state) {
    (void)state;
    struct world w;
    struct site *a, *b;
    open_world(&w, 1);
    w.options.settings.rewrite_bytes_min = 1;
    start_two(&w, &a, &b);
    struct replica_id dead = a->id;
    stop(a);
    a = start(&w, 0, 1);
    assert_true(reaches(&w, a, ARCHIVE_STREAMING, 10 * SECOND)); /* has closed it, so it is garbage in time */
    hear(b, a);
    stop(a);
    nine_hours_of_checkpoints(&w, b);
    on_closed(b, b->id);
    assert_false(has(b, 1, "streamed"));
    assert_true(finds_closed(&w, b, dead, false, false, 60 * SECOND));
    assert_true(has(b, 1, "streamed"));
    close_world(&w);
}

/* ------------------------------------------------- twice, long, and in between */

/* A claim that nobody judged before its process ended is no proof for the next from its place: who was the node may live. */
static void a_claim_that_was_not_taken_lets_nobody_in_at_once(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct site *first = start(&w, 0, 1);
    assert_true(reaches(&w, first, ARCHIVE_STREAMING, 10 * SECOND));
    run(&w, 5 * SECOND);
    stands_still(&w, 0);
    w.options.place = "elsewhere";
    struct site *other = NULL;
    for (int starts = 0; starts < 2; starts++) {
        if (other) stop(other);
        other = start(&w, 1, 1);
        assert_false(reaches(&w, other, ARCHIVE_READING, SECOND));
    }
    w.sites[0] = first;
    assert_true(reaches(&w, other, ARCHIVE_STOPPED, 20 * SECOND));
    assert_int_equal(archive_phase(first->archive), ARCHIVE_STREAMING);
    close_world(&w);
}

/* Another process becomes the node while this one stands still, and is restarted: its first claim has come and gone. */
static void who_slept_through_two_claims_stops(void **state) {
    (void)state;
    struct world w;
    open_world(&w, 1);
    struct site *first = start(&w, 0, 1);
    assert_true(reaches(&w, first, ARCHIVE_STREAMING, 10 * SECOND));
    run(&w, 5 * SECOND);
    stands_still(&w, 0);
    w.options.place = "elsewhere";
    for (int starts = 0; starts < 2; starts++) {
        if (w.sites[1]) stop(w.sites[1]);
        assert_true(reaches(&w, start(&w, 1, 1), ARCHIVE_STREAMING, 20 * SECOND));
        run(&w, 10 * SECOND);
    }
    w.sites[0] = first;
    assert_true(reaches(&w, first, ARCHIVE_STOPPED, 30 * SECOND));
    assert_int_equal(archive_phase(w.sites[1]->archive), ARCHIVE_STREAMING);
    close_world(&w);
}

/* Likewise, for longer than the end is kept that its next process made of its stream: nothing of it gets behind that. */
static void who_slept_long_does_not_stream_on(void **state) {
    (void)state;
    for (int starts = 1; starts <= 2; starts++) {
        struct world w;
        struct site *a, *b;
        uint64_t bytes;
        char key[LAYOUT_KEY_BYTES];
        open_world(&w, 1);
        w.options.settings.rewrite_bytes_min = 1;
        start_two(&w, &a, &b);
        layout_segment_key(key, a->id, 0);
        *(strrchr(key, '/') + 1) = 0;
        run(&w, 5 * SECOND);
        stands_still(&w, 0);
        w.options.place = "elsewhere";
        for (int i = 0; i < starts; i++) {
            if (w.sites[2]) stop(w.sites[2]);
            assert_true(reaches(&w, start(&w, 2, 1), ARCHIVE_STREAMING, 20 * SECOND));
            hear(b, w.sites[2]);
            run(&w, 10 * SECOND);
        }
        nine_hours_of_checkpoints(&w, b);
        w.sites[0] = a;
        for (int i = 0; i < 10; i++) {
            write_key(a, 1, "void");
            run(&w, SECOND);
        }
        assert_int_equal(archive_phase(a->archive), ARCHIVE_STOPPED);
        assert_int_equal(count_of(&w, key, &bytes), 0);
        close_world(&w);
    }
}

/* Who made an end behind its writer dies before he finds out. It is no end for who starts, either: the writer goes on, until asked about. */
static void an_end_in_a_gap_is_none_for_who_starts(void **state) {
    (void)state;
    struct world w;
    struct site *a, *b;
    open_world(&w, 1);
    struct replica_id id = leaves_a_gap(&w, &a, &b);
    while (b->archive->tails.step != TAIL_CLOSED && b->archive->tails.step != TAIL_IDLE) run(&w, 100);
    assert_int_equal(b->archive->tails.step, TAIL_CLOSED);
    stop(b);
    struct site *c = start(&w, 2, 3);
    assert_true(reaches(&w, c, ARCHIVE_STREAMING, 10 * SECOND));
    assert_false(archive_is_closed(c->archive, id, false, true));
    write_key(a, 2, "after");
    assert_true(flushes(&w, a, 10 * SECOND));
    assert_true(finds_closed(&w, c, id, true, true, 30 * SECOND));
    assert_true(has(c, 2, "after"));
    write_key(a, 4, "and on");
    run(&w, 10 * SECOND);
    assert_int_equal(a->closed, 1);
    close_world(&w);
}

/* From that one on, all parts of checkpoints; they rot, or are gone. */
static void harm_parts(struct world *w, const char *prefix, size_t left, bool rots) {
    struct store_request list = {.op = STORE_LIST, .key = bytes_str(prefix), .limit = STORE_PAGE_MAX};
    ask(w, &list);
    assert_true(list.count > left);
    for (size_t i = left; i < list.count; i++) {
        struct store_request r = {.op = rots ? STORE_PUT : STORE_DELETE, .key = list.entries[i].key, .body = bytes_str(rots ? "rot" : "")};
        ask(w, &r);
        store_request_fini(&r);
    }
    store_request_fini(&list);
}

/* What only a checkpoint has of the dead, and is gone from there: the older one has it, or it is lost, and the stream ends all the same. */
static void parts_may_be_missing(void **state) {
    (void)state;
    for (int all = 0; all < 2; all++)
        for (int rots = 0; rots < 2; rots++) {
            struct world w;
            struct site *lives;
            struct bucket_stats before, after;
            open_world(&w, 1);
            struct replica_id id = dies_covered(&w, &lives);
            harm_parts(&w, "checkpoint/", !all, rots);
            bucket_sim_stats(w.bucket, &before);
            assert_true(finds_closed(&w, lives, id, true, true, 120 * SECOND));
            run(&w, 600 * SECOND);
            bucket_sim_stats(w.bucket, &after);
            assert_int_equal(has(lives, 1, "x"), !all);
            assert_true(after.requests - before.requests < 4000); /* most of them are watches of claims, and looks at what has grown */
            close_world(&w);
        }
}

/* All manifests name the one part that has it, since nobody who lives has read that: it is gone. */
static void the_part_that_all_name_may_be_missing(void **state) {
    (void)state;
    for (int rots = 0; rots < 2; rots++) {
        struct world w;
        struct site *lives;
        open_world(&w, 1);
        struct replica_id id = dies_covered(&w, &lives);
        for (int i = 0; i < 5; i++) { /* it counts as alive */
            write_key(lives, 2, "y");
            archive_save(lives->archive);
            run(&w, 8 * SECOND);
        }
        harm_parts(&w, "checkpoint/0000000000000001", 0, rots);
        archive_alive(lives->archive, NULL, 0);
        assert_true(finds_closed(&w, lives, id, true, true, 600 * SECOND));
        close_world(&w);
    }
}

/* Gossip wants a stream closed that is just being looked at, in vain: that does not wait until it is looked at in vain again. */
static void asked_in_the_midst_is_answered_soon(void **state) {
    (void)state;
    struct world w;
    struct site *lives;
    open_world(&w, 1);
    struct replica_id id = dies_covered(&w, &lives);
    harm_parts(&w, "checkpoint/", 0, true);
    while (lives->archive->tails.step != TAIL_PARTS) {
        archive_is_closed(lives->archive, id, false, true);
        run(&w, 1000);
    }
    assert_true(finds_closed(&w, lives, id, true, true, 30 * SECOND));
    close_world(&w);
}

/* A node with a disk serves while it still reads a slow store, is told then that it was declared gone, and starts over: what the dead
 * streamed, and its disk had, is to be read. */
static void who_starts_over_while_it_reads_reads_the_dead_anew(void **state) {
    (void)state;
    for (int step = READ_LISTING_SEGMENTS; step <= READ_SEGMENTS; step++) {
        struct world w;
        struct site *a, *b;
        open_world(&w, 1);
        start_two(&w, &a, &b);
        struct replica_id dead = a->id;
        hear(b, a);
        stop(a);
        assert_true(finds_closed(&w, b, dead, true, true, 60 * SECOND));
        write_key(b, 4, "mine");
        assert_true(flushes(&w, b, 10 * SECOND));
        stands_still(&w, 1);
        struct site *again = start_again(&w, 1, b);
        while (archive_phase(again->archive) != ARCHIVE_STREAMING && (int)again->archive->reader.step != step) run(&w, 100);
        if (archive_phase(again->archive) == ARCHIVE_READING) {
            on_closed(again, again->id);
            assert_false(has(again, 1, "streamed"));
            assert_true(reaches(&w, again, ARCHIVE_STREAMING, 60 * SECOND));
            assert_true(finds_closed(&w, again, dead, false, true, 60 * SECOND));
            assert_true(has(again, 1, "streamed"));
        }
        w.sites[2] = b;
        close_world(&w);
    }
}

/* Such a one is told that a stream is closed when all of it is here, not when its end was seen. */
static void what_is_being_read_is_not_closed_yet(void **state) {
    (void)state;
    struct world w;
    struct site *a, *b;
    open_world(&w, 1);
    w.options.settings.rewrite_percent = 0;
    start_two(&w, &a, &b);
    struct replica_id dead = a->id;
    write_key(b, 4, "mine");
    assert_true(flushes(&w, b, 10 * SECOND));
    stands_still(&w, 1);
    stop(a);
    struct site *c = start(&w, 2, 3);
    assert_true(reaches(&w, c, ARCHIVE_STREAMING, 10 * SECOND));
    assert_true(finds_closed(&w, c, dead, true, true, 60 * SECOND));
    struct site *again = start_again(&w, 1, b);
    assert_false(has(again, 1, "streamed"));
    for (int i = 0; i < 100000 && !archive_is_closed(again->archive, dead, false, true); i++) run(&w, 100);
    assert_true(archive_is_closed(again->archive, dead, false, true));
    assert_true(has(again, 1, "streamed"));
    w.sites[3] = b;
    close_world(&w);
}

/* The store is away when the manifest is to be created, for hours, and the node starts over meanwhile. */
static void a_manifest_of_who_starts_over_is_dropped(void **state) {
    (void)state;
    struct world w;
    struct archive_status status;
    open_world(&w, 1);
    w.options.settings.rewrite_percent = 0;
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    for (uint64_t k = 0; k < SHARDS; k++) write_key(s, k, "x");
    assert_true(flushes(&w, s, 10 * SECOND));
    archive_save(s->archive);
    while (s->archive->compactor.step != COMPACT_NAMING) run(&w, 100);
    bucket_sim_faults(w.bucket, &(struct bucket_faults){.out = true});
    run(&w, 5 * SECOND);
    on_closed(s, s->id);
    run(&w, 5 * SECOND);
    w.now_us += 4 * 3600 * SECOND;
    set_faults(&w, 0, 0);
    run(&w, 30 * SECOND);
    archive_status(s->archive, w.now_us, &status);
    assert_int_equal(status.checkpoints, 0);
    close_world(&w);
}

/* ------------------------------------------------------------------ slow stores */

static void slow(struct world *w, int64_t list_lag_us) {
    struct bucket_faults faults = {.slow = BUCKET_RATE_ALL, .list_lag_us = list_lag_us};
    bucket_sim_faults(w->bucket, &faults);
}

/* Others write on while one starts: what they write meanwhile is not run after. */
static void who_starts_gets_there(void **state) {
    (void)state;
    for (int64_t list_lag_us = 0; list_lag_us <= 10 * SECOND; list_lag_us += 10 * SECOND) {
        struct world w;
        open_world(&w, 1);
        w.options.settings.segment_us = SECOND / 2;
        w.options.settings.rewrite_percent = 0;
        for (uint32_t i = 0; i <= NODES; i++) assert_true(reaches(&w, start(&w, i, i + 1), ARCHIVE_STREAMING, 10 * SECOND));
        struct site *late = NULL;
        for (int64_t i = 0; i < 10000 && !(late && archive_phase(late->archive) == ARCHIVE_STREAMING); i++) {
            for (uint32_t k = 0; k <= NODES; k++) write_key(w.sites[k], k, "x");
            run(&w, 20000);
            if (i == 50) slow(&w, list_lag_us);
            if (i == 100) late = start(&w, NODES + 1, 9);
        }
        assert_int_equal(archive_phase(late->archive), ARCHIVE_STREAMING);
        close_world(&w);
    }
}

/* Nor do those keep anybody from looking at the dead. */
static void the_dead_have_their_turn(void **state) {
    (void)state;
    struct world w;
    struct site *dies, *b, *others[3];
    open_world(&w, 1);
    w.options.settings.segment_us = SECOND / 2;
    start_two(&w, &dies, &b);
    struct replica_id dead = dies->id;
    stop(dies);
    for (uint32_t i = 0; i < 3; i++) {
        others[i] = start(&w, i + (i > 0), 5 + i);
        assert_true(reaches(&w, others[i], ARCHIVE_STREAMING, 10 * SECOND));
    }
    slow(&w, 0);
    bool closed = false;
    for (int i = 0; i < 1000 && !closed; i++) {
        for (uint32_t k = 0; k < 3; k++) write_key(others[k], k, "y");
        run(&w, 200000);
        closed = i > 100 && archive_is_closed(b->archive, dead, true, true);
    }
    assert_true(closed);
    close_world(&w);
}

/* Its own segments, which are listed late, are not taken for lost. */
static void what_is_listed_late_is_not_lost(void **state) {
    (void)state;
    struct world w;
    struct archive_status status;
    open_world(&w, 1);
    w.options.settings.rewrite_percent = 0;
    set_faults(&w, 0, 20 * SECOND);
    struct site *s = start(&w, 0, 1);
    assert_true(reaches(&w, s, ARCHIVE_STREAMING, 10 * SECOND));
    writes_on(&w, s, 9);
    run(&w, 10 * SECOND);
    archive_status(s->archive, w.now_us, &status);
    assert_int_equal(status.checkpoints, 0);
    close_world(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_process_of_a_node_stops), cmocka_unit_test(copies_of_a_process_stop),
        cmocka_unit_test(what_a_start_brings_waits_to_be_called_void), cmocka_unit_test(who_starts_over_reads_the_dead_anew),
        cmocka_unit_test(whose_stream_was_closed_while_it_was_down_starts_over),
        cmocka_unit_test(that_a_stream_was_closed_is_found_long_after), cmocka_unit_test(what_was_closed_and_collected_is_closed),
        cmocka_unit_test(who_starts_over_in_the_midst_of_a_step_streams_all_of_it),
        cmocka_unit_test(a_checkpoint_of_who_starts_over_is_not_named), cmocka_unit_test(looking_does_not_close),
        cmocka_unit_test(hidden_ends_are_not_asked_for_without_end), cmocka_unit_test(an_old_number_is_no_claim),
        cmocka_unit_test(what_leads_to_the_newest_stays), cmocka_unit_test(what_was_ended_just_now_is_void),
        cmocka_unit_test(an_end_is_the_last_of_its_stream), cmocka_unit_test(no_place_before_an_end_is_free),
        cmocka_unit_test(the_place_of_an_idle_writer_stays), cmocka_unit_test(manifests_that_vanish_are_looked_for_again),
        cmocka_unit_test(one_object_may_rot_of_the_dead), cmocka_unit_test(collected_streams_are_read_from_checkpoints),
        cmocka_unit_test(a_claim_that_was_not_taken_lets_nobody_in_at_once), cmocka_unit_test(who_slept_through_two_claims_stops), cmocka_unit_test(who_slept_long_does_not_stream_on),
        cmocka_unit_test(an_end_in_a_gap_is_none_for_who_starts), cmocka_unit_test(parts_may_be_missing),
        cmocka_unit_test(the_part_that_all_name_may_be_missing), cmocka_unit_test(asked_in_the_midst_is_answered_soon),
        cmocka_unit_test(who_starts_over_while_it_reads_reads_the_dead_anew), cmocka_unit_test(what_is_being_read_is_not_closed_yet),
        cmocka_unit_test(a_manifest_of_who_starts_over_is_dropped), cmocka_unit_test(who_starts_gets_there),
        cmocka_unit_test(the_dead_have_their_turn), cmocka_unit_test(what_is_listed_late_is_not_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
