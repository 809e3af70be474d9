/* Collection without locks: what prune, backup and forget may do at the same
 * time, searched in every order by Spin (README.md here: how to run it).
 *
 *   writer     register - pin - look up - packs - index - slot - look - sign off
 *   collector  move - condemn (odd epoch) - wait or fence - mark 2
 *                - doom (even epoch) - delete - settle - remove old epochs
 *   forget     mark
 *
 * Asked after every step that could break it:
 *   - each blob of each valid snapshot has a stored and indexed copy whose bases
 *     have one, of smaller depth, down to a plain one;
 *   - what a writer was told is stored is valid until it is forgotten;
 *   - what was forgotten is never valid again.
 *
 * Whoever may stop at any moment, and stay away for ever or come back late, is
 * simply not scheduled: so crashes, sleep and frozen processes need no steps of
 * their own. Every #ifdef is a protocol with one mistake, but for WAIT_ONLY; the
 * runner shows that each is found. */

#ifndef SESSIONS
#define SESSIONS 2      /* session 0 is an old snapshot, the others are writers */
#endif
#ifndef PASSES_A
#define PASSES_A 1      /* of the first collector */
#endif
#ifndef PASSES_B
#define PASSES_B 0      /* of the second one; 0: there is none */
#endif
#ifndef PASSES_C
#define PASSES_C 0      /* of a third one */
#endif
#ifndef MOVES
#define MOVES 0         /* packs that the first collector rewrites */
#endif
#ifndef IDS
#define IDS 2           /* blobs; each has the next one, in a ring, as its base */
#endif
#ifndef DEEPEST
#define DEEPEST 2       /* 0: no differences; 1; 2 */
#endif
#ifndef WANT
#define WANT 0          /* the ids that every writer's snapshot has; 0: any */
#endif
#ifndef SCENE
#define SCENE 0         /* what is stored at the beginning, see init */
#endif
#ifndef FORGETS
#define FORGETS 1       /* snapshots that are forgotten, at most */
#endif
#ifndef CONDEMN_ALL
#define CONDEMN_ALL 0   /* 1: every pack is condemned; 0: any packs are */
#endif
#ifndef FORGOTTEN
#define FORGOTTEN 0     /* 1: session 0 is forgotten at the beginning */
#endif
#ifndef LATE
#define LATE 1          /* 1: a create of a slot may arrive a second time, late */
#endif
#if SCENE == 0 || SCENE == 4
#define FIRST_PACKS 1
#else
#define FIRST_PACKS 2
#endif
#ifdef WAIT_ONLY        /* no create that fails: the last one to write wins */
#define BLIND_ODD
#define BLIND_EVEN
#endif
#define PACKS (FIRST_PACKS + SESSIONS - 1 + MOVES)

#define BIT(x) (1 << (x))
#define HAS(set, x) (((set) >> (x)) & 1)

/* Rows by (id, depth): bit id + IDS * depth. A row of depth > 0 is a difference
 * to the next id. The union of what some packs hold says what can be read. */
#define ALL_IDS (BIT(IDS) - 1)
#define ROW(id, depth) BIT((id) + IDS * (depth))
#define AT(rows, depth) (((rows) >> (IDS * (depth))) & ALL_IDS)
#define OVER(bases) ((((bases) >> 1) | ((bases) << (IDS - 1))) & ALL_IDS)
#define NAMED(rows) (AT(rows, 0) | AT(rows, 1) | AT(rows, 2))
#define READABLE_0(rows) AT(rows, 0)
#define READABLE_1(rows) (READABLE_0(rows) | (AT(rows, 1) & OVER(READABLE_0(rows))))
#define READABLE_2(rows) (READABLE_1(rows) | (AT(rows, 2) & OVER(READABLE_1(rows))))
#ifdef NO_DEPTH_RULE    /* any copy of the base is taken for one that serves */
#define COVERED(rows) NAMED(rows)
#define CLOSED(rows) ((rows) & (ALL_IDS | OVER(NAMED(rows)) << IDS | \
                                OVER(NAMED(rows)) << 2 * IDS))
#else
#define COVERED(rows) READABLE_2(rows)
#define CLOSED(rows) ((rows) & (ALL_IDS | OVER(READABLE_0(rows)) << IDS | \
                                OVER(READABLE_1(rows)) << 2 * IDS))
#endif

#if IDS > 2
#define ROWS short
#else
#define ROWS byte
#endif

/* The storage. Sets are bits: of packs, of sessions, of epochs. */
ROWS rows[PACKS];       /* a name is never used twice; what is gone holds nothing */
byte packs, stored, indexed;
#define EMPTY 0
#define SNAPSHOT 1
#define TOMBSTONE 2
byte slot[SESSIONS];
byte want[SESSIONS];    /* the ids that the snapshot reaches */
byte pin[SESSIONS];     /* in its header, and in the pin if there is one */
byte registered, pinned, marks;
byte newest;            /* epoch; 0 before the first */
byte condemned, doomed; /* of the newest epoch */
byte listed;            /* `snapshots` of the newest even epoch */
short epochs;           /* numbers that are there */

/* What was promised; no process reads these. */
byte told, forgotten;

#ifdef LOSER_REMOVES
byte listed_before;
bool is_doom_gone;
#define EVEN (newest - newest % 2 - (is_doom_gone -> 2 : 0))
#define LISTED (is_doom_gone -> listed_before : listed)
#else
#define EVEN (newest - newest % 2)
#define LISTED listed
#endif
#ifdef NO_LIST          /* a slot counts however late it turned up */
#define IN_TIME(s) true
#else
#define IN_TIME(s) (pin[s] + 1 >= EVEN || HAS(LISTED, s))
#endif
#define VALID(s) (slot[s] == SNAPSHOT && !HAS(marks, s) && IN_TIME(s))

/* Temporaries of steps that nobody interrupts; not part of the state. */
hidden byte i;
hidden ROWS sum, before, after;
hidden byte set;

inline add_up(which) {  /* sum: all rows of these packs */
  sum = 0; i = 0;
  do
  :: i < packs -> sum = sum | (HAS(which, i) -> rows[i] : 0); i++
  :: else -> break
  od
}

inline check() {
  d_step {
    add_up(stored & indexed);
    set = READABLE_2(sum); i = 0;
    do
    :: i < SESSIONS ->
      assert(!VALID(i) || (want[i] & ~set) == 0);
      assert(!HAS(told, i) || HAS(marks | forgotten, i) || VALID(i));
      assert(!HAS(forgotten, i) || !VALID(i));
      i++
    :: else -> break
    od
  }
}

/* What may be used again: ids, and the depths at which they can be a base. */
inline look_up(unusable) {
  d_step {
    add_up(stored & indexed & ~(unusable));
#ifdef TRUST_ROWS       /* asks for the row alone, not for what it leans on */
    usable = NAMED(sum);
#else
    usable = READABLE_2(sum);
#endif
#ifdef CONDEMNED_BASE   /* a base is not thought to be a reuse */
    add_up(stored & indexed);
#endif
    base_0 = READABLE_0(sum);
    base_1 = READABLE_1(sum)
  }
}

proctype Writer(byte me) {
  byte n, unusable, usable, base_0, base_1, p, id;
  ROWS new;

#ifdef TRUSTED_CACHE    /* what the index said yesterday */
  look_up(condemned | doomed);
#endif
#ifdef PIN_FIRST        /* the epoch is read before the session is registered */
  atomic { n = newest; unusable = condemned | doomed };
#endif
  registered = registered | BIT(me);
#ifndef PIN_FIRST
  atomic { n = newest; unusable = condemned | doomed };
#endif
  atomic { pin[me] = n; pinned = pinned | BIT(me); n = 0 };
#ifndef NO_LOOK_AFTER_PIN /* fenced before it pinned, it may find its slot free */
  if
  :: HAS(registered, me)
  :: else -> unusable = 0; pinned = pinned & ~BIT(me); goto stop
  fi;
#endif
#ifdef NOTHING_UNUSABLE /* what is condemned is used like the rest */
  unusable = 0;
#endif
  atomic {
#ifndef TRUSTED_CACHE
    look_up(unusable);
#endif
    unusable = 0;
#if WANT
    want[me] = WANT;
#else
    if :: want[me] = 1 :: want[me] = 2 :: want[me] = ALL_IDS
#if IDS > 2
       :: want[me] = 4
#endif
    fi;
#endif
    id = 0;
    do
    :: id < IDS ->
      if
      :: !HAS(want[me] & ~usable, id)
      :: HAS(want[me] & ~usable, id) -> new = new | ROW(id, 0)
#if DEEPEST > 0
      :: HAS(want[me] & ~usable & OVER(base_0), id) -> new = new | ROW(id, 1)
#endif
#if DEEPEST > 1
      :: HAS(want[me] & ~usable & OVER(base_1), id) -> new = new | ROW(id, 2)
#endif
      fi;
      id++
    :: else -> break
    od;
    id = 0; usable = 0; base_0 = 0; base_1 = 0
  };
  if
  :: new != 0 ->
#ifdef NAMES_FROM_CONTENT /* the name of a deleted pack comes back */
    atomic {
      do :: p < packs && rows[p] != new -> p++ :: else -> break od;
      if :: p == packs -> rows[p] = new; packs++ :: else fi;
      stored = stored | BIT(p); new = 0
    };
    indexed = indexed | BIT(p); p = 0
#else
    atomic {
      p = packs; packs++; rows[p] = new; stored = stored | BIT(p); new = 0
    };
    atomic { indexed = indexed | (BIT(p) & stored); p = 0 }
#endif
  :: else
  fi;
  if
  :: true ->
#ifdef WAIT_ONLY
    atomic { slot[me] = SNAPSHOT; check() };
#else
    atomic {
      if :: slot[me] == EMPTY -> slot[me] = SNAPSHOT; check()
         :: else -> goto gone   /* fenced: says so, and begins anew */
      fi
    };
#endif
#ifdef NO_LAST_LOOK     /* a slot taken is thought to be a snapshot stored */
    atomic { told = told | BIT(me); check() };
#else
#ifndef NO_LOOK_AFTER_CREATE
    if :: HAS(registered, me) :: else -> goto gone fi;
#endif
    atomic { if :: IN_TIME(me) -> told = told | BIT(me); check() :: else fi };
#endif
  :: true               /* withdraws; a create may still be on its way */
  fi;
gone:
  pinned = pinned & ~BIT(me);
  registered = registered & ~BIT(me);
#if LATE
end_late:
  atomic { slot[me] == EMPTY -> slot[me] = SNAPSHOT; check() };
#endif
stop: skip
}

#ifdef SLOT_FREED       /* the slot is removed, without a mark */
#define FORGET(s) atomic { VALID(s) -> \
    slot[s] = EMPTY; forgotten = forgotten | BIT(s); check() }
#elif defined(TAKEN_BACK) /* the mark is removed when a second look says so */
#define FORGET(s) atomic { VALID(s) -> marks = marks | BIT(s); check() }; \
  atomic { marks = marks & ~BIT(s); check() }
#else
#define FORGET(s) atomic { VALID(s) -> \
    marks = marks | BIT(s); forgotten = forgotten | BIT(s); check() }
#endif

proctype Forget() {
end_forget:
  if
  :: FORGET(0)
  :: FORGET(1)
#if SESSIONS > 2
  :: FORGET(2)
#endif
#if SESSIONS > 3
  :: FORGET(3)
#endif
  fi
}

#ifdef NO_CLOSURE
#define STAYS_CLOSED true
#else
#define STAYS_CLOSED ((sum & before & ~after) == 0)
#endif

/* x: those of c that are not needed for the ids `live`, and whose going leaves
 * the packs that stay closed under bases. One after another: what made the first
 * needless may be the second. What leans on nothing already binds nobody. */
inline choose_doomed() {
  d_step {
    x = 0; k = 0;
    add_up(stored & indexed & ~doomed); before = CLOSED(sum);
    do
    :: k < packs ->
      if
      :: HAS(c & stored & ~(doomed | x), k) ->
#ifdef BOTH_COPIES      /* each is compared with all that is there now */
        add_up(stored & indexed & ~doomed & ~BIT(k));
#else
        add_up(stored & indexed & ~(doomed | x | BIT(k)));
#endif
        after = CLOSED(sum);
        if
        :: (live & ~COVERED(sum)) == 0 && STAYS_CLOSED ->
          x = x | BIT(k); k = 0 /* it may have been what leant on an earlier one */
        :: else -> k++
        fi
      :: else -> k++
      fi
    :: else -> break
    od;
    k = 0
  }
}

#ifdef SESSIONS_CUT     /* a listing that ends early */
#define SESSIONS_SEEN (SESSIONS - 1)
#else
#define SESSIONS_SEEN SESSIONS
#endif
#ifdef SNAPSHOTS_CUT
#define SLOTS_SEEN (SESSIONS - 1)
#else
#define SLOTS_SEEN SESSIONS
#endif

#define IS_OLDER(s, odd) (HAS(registered, s) && slot[s] == EMPTY && \
                          (!HAS(pinned, s) || pin[s] < odd))

inline list_older(odd) {
  do
  :: atomic {
      if
      :: IS_OLDER(k, odd) -> older = older | BIT(k)
      :: !IS_OLDER(k, odd)
#ifndef WAIT_ONLY       /* a wrong guess that it is gone: fenced all the same */
      :: !IS_OLDER(k, odd) && HAS(registered, k) -> older = older | BIT(k)
#endif
      fi;
      k++;
      if :: k == SESSIONS_SEEN -> k = 0; break :: else fi
    }
  od
}

/* Reads one slot after another, as a listing does. Validity is asked of the
 * newest even epoch, not of the one that was read when the pass began: they
 * differ only for who will lose the race for the next epoch anyway. */
inline mark() {
  do
  :: atomic {
      if :: VALID(k) -> live = live | want[k]; seen = seen | BIT(k) :: else fi;
      k++;
      if :: k == SLOTS_SEEN -> k = 0; break :: else fi
    }
  od
}

/* What mark 1 sees that may be settled once the doom of this very pass is there:
 * slots that do not count, and tombstones whose registration is gone. For then
 * their session pinned before the condemnation, or finds out when it pins. */
#ifdef SETTLED_REGISTERED
#define IS_FENCED(s) (slot[s] == TOMBSTONE)
#else
#define IS_FENCED(s) (slot[s] == TOMBSTONE && !HAS(registered, s))
#endif
#define IS_SETTLED(s) (IS_FENCED(s) || (slot[s] == SNAPSHOT && !VALID(s)))

inline settle() {
  do
  :: HAS(settled, k) ->
    atomic { slot[k] = EMPTY; check() };
    atomic { marks = marks & ~BIT(k); settled = settled & ~BIT(k); check() }
  :: settled != 0 && !HAS(settled, k) -> k++
  :: true -> k = 0; settled = 0; break
  od
}

#define REMOVE_PACK(p) stored = stored & ~BIT(p); indexed = indexed & ~BIT(p)

proctype Collector(byte passes; byte moves) {
  byte e, c, x, older, live, seen, k, settled;
#ifdef MOVED_IS_ENOUGH
  byte moved;
#endif

again:
  if :: passes == 0 -> goto stop :: else -> passes-- fi;
  e = newest;
  if
  :: e % 2 == 1         /* a pass is open: somebody died, or is at work */
  :: else ->
#if MOVES
    if
    :: atomic { moves > 0 ->
        moves--; k = 0;
        do
        :: k < packs && !HAS(stored & indexed & ~doomed, k) -> k++
        :: k < packs && HAS(stored & indexed & ~doomed, k) -> break
        :: k < packs && HAS(stored & indexed & ~doomed, k) -> k++
        :: k == packs -> break
        od;
        if
        :: k < packs ->
#ifdef MOVED_IS_ENOUGH
          moved = BIT(k);
#endif
          if
          :: rows[packs] = rows[k]
          :: rows[packs] = rows[k] & (ROW(0, 0) | ROW(0, 1) | ROW(0, 2))
          :: rows[packs] = rows[k] & (ROW(1, 0) | ROW(1, 1) | ROW(1, 2))
          fi;
          stored = stored | BIT(packs); k = packs; packs++
        :: else -> k = 0; goto condemn
        fi
      };
      atomic { indexed = indexed | (BIT(k) & stored); k = 0 }
    :: true
    fi;
condemn:
#endif
    /* Mark 1. What goes is a matter of space alone: mark 2 alone keeps what is
     * needed, so any packs may be condemned, also such as no index names. */
#ifdef NO_MARK_2
    mark();
#endif
    atomic {
      k = 0;
      do
      :: k < packs ->
        if
        :: HAS(stored & ~doomed, k) -> c = c | BIT(k)
#if CONDEMN_ALL
        :: !HAS(stored & ~doomed, k)
#else
        :: true
#endif
        fi;
        k++
      :: else -> k = 0; break
      od;
      if :: c == 0 -> goto lost :: else fi;
#ifdef NO_MARK_2
      choose_doomed();
      if :: x != c -> goto lost :: else fi;
#endif
      x = 0; live = 0; seen = 0;
      do
      :: k < SESSIONS ->
        if :: IS_SETTLED(k) -> settled = settled | BIT(k) :: else fi;
        k++
      :: else -> k = 0; break
      od
    };
#ifdef LISTED_EARLY     /* who registers from now on is not seen */
    list_older(e + 1);
#endif
    atomic {
      if
#ifdef BLIND_ODD
      :: true ->
#else
      :: !HAS(epochs, e + 1) ->
#endif
        epochs = epochs | BIT(e + 1); e++;
        if
        :: e > newest ->
          newest = e; condemned = c;
#ifdef NOT_CARRIED
          doomed = 0;
#else
          doomed = doomed & stored;
#endif
          check()
#ifdef BLIND_ODD
        :: e == newest -> condemned = c
#endif
        :: else         /* the name was free because the epoch is removed */
        fi
      :: else -> goto lost
      fi
    }
#ifndef NO_NEWEST_CHECK
    if :: newest != e -> goto lost :: else fi
#endif
  fi;

  atomic {
#ifndef NO_NEWEST_CHECK
    if :: e == newest -> c = condemned :: else -> goto lost fi
#else
    if :: e == newest -> c = condemned :: else fi
#endif
  };
#ifndef LISTED_EARLY
  list_older(e);
#endif
#ifdef NO_WAIT          /* whoever is old enough has surely finished */
  older = 0;
#endif
  do
  :: older == 0 -> break
  :: HAS(older, k) && (slot[k] != EMPTY || !HAS(registered, k)) ->
    older = older & ~BIT(k)
#ifdef LEASE            /* judged to be gone, and not fenced */
  :: HAS(older, k) -> older = older & ~BIT(k)
#elif !defined(WAIT_ONLY) || defined(FENCED_ANYWAY)
  :: HAS(older, k) ->   /* whoever creates the slot first has it */
#ifdef FENCED_ANYWAY    /* looks, and writes then */
    if
    :: slot[k] == EMPTY -> atomic { slot[k] = TOMBSTONE; check() }
    :: else
    fi;
#else
    atomic { if :: slot[k] == EMPTY -> slot[k] = TOMBSTONE :: else fi };
#endif
    pinned = pinned & ~BIT(k);
    atomic { registered = registered & ~BIT(k); older = older & ~BIT(k) }
#endif
  :: older != 0 && !HAS(older, k) -> k++
  od;
  k = 0;

#ifdef NO_MARK_2
  x = c;
#else
  mark();
  atomic {
    choose_doomed();
#ifdef MOVED_IS_ENOUGH  /* what was moved elsewhere goes, whoever came since */
    x = x | (moved & c); moved = 0;
#endif
    live = 0; c = 0
  };
#endif
#ifdef SETTLED_EARLY    /* the late slot of a fenced session counts until then */
  settle();
#endif
  atomic {
    if
#ifdef BLIND_EVEN
    :: true ->
#else
    :: !HAS(epochs, e + 1) ->
#endif
      epochs = epochs | BIT(e + 1); e++;
      if
      :: e > newest ->
#ifdef LOSER_REMOVES
        listed_before = listed; is_doom_gone = false;
#endif
        newest = e; condemned = 0; doomed = doomed | x; listed = seen;
        x = 0; seen = 0; check()
#ifdef BLIND_EVEN
      :: e == newest -> doomed = x; listed = seen; x = 0; seen = 0; check()
#endif
      :: else
#ifdef NO_NEWEST_CHECK
        -> goto delete
#else
        -> goto lost
#endif
      fi
    :: else -> goto lost /* somebody finished the pass */
    fi
  };
#ifdef LOSER_REMOVES    /* whose epoch is not the newest removes it again */
  atomic {
    if
    :: newest != e ->
      epochs = epochs & ~BIT(e);
      if :: newest == e + 1 -> is_doom_gone = true; check() :: else fi;
      goto lost
    :: else
    fi
  };
#endif
  goto clean;

lost:
  settled = 0;
clean:
  /* From here on by the newest epoch, whose-ever it is. */
  atomic {
    x = doomed & stored; c = 0; e = 0; live = 0; seen = 0; older = 0; k = 0
#ifdef MOVED_IS_ENOUGH
    ; moved = 0
#endif
  };
delete:
  do
  :: (x & stored) != 0 -> atomic {
      k = 0;
      do
      :: k < packs && !HAS(x & stored, k) -> k++
      :: k < packs && HAS(x & stored, k) -> break
      :: k < packs && HAS(x & stored, k) -> k++
      :: k >= packs -> break
      od;
      if :: k < packs -> REMOVE_PACK(k);
#ifndef NAMES_FROM_CONTENT
        rows[k] = 0;
#endif
        check()
      :: else
      fi;
      k = 0
    }
  :: true -> x = 0; break
  od;

  settle();

  /* Old epochs. */
  atomic {
    if
    :: (doomed & stored) == 0 && EVEN > 1 ->
      epochs = epochs & ~(BIT(EVEN - 1) - 1)
    :: else
    fi
  };
  goto again;
stop: skip
}

init {
  atomic {
    slot[0] = SNAPSHOT; want[0] = ALL_IDS; told = 1;
    marks = FORGOTTEN; forgotten = FORGOTTEN;
    stored = BIT(FIRST_PACKS) - 1; indexed = stored; packs = FIRST_PACKS;
#if SCENE == 0          /* one pack with every blob */
    rows[0] = ALL_IDS;
#elif SCENE == 1        /* everything twice */
    rows[0] = ALL_IDS; rows[1] = ALL_IDS;
#elif SCENE == 2        /* plain, and as a ring of differences */
    rows[0] = ALL_IDS; rows[1] = ALL_IDS << IDS;
#elif SCENE == 3        /* a base, and what leans on it */
    rows[0] = ROW(IDS - 1, 0);
#if IDS == 2
    rows[1] = ROW(0, 1);
#else
    rows[1] = ROW(1, 1) | ROW(0, 2);
#endif
#else                   /* what others may lean on, alone */
    rows[0] = ROW(1, 0); want[0] = 2;
#endif
    run Collector(PASSES_A, MOVES);
#if PASSES_B
    run Collector(PASSES_B, 0);
#endif
#if PASSES_C
    run Collector(PASSES_C, 0);
#endif
    run Writer(1);
#if SESSIONS > 2
    run Writer(2);
#endif
#if SESSIONS > 3
    run Writer(3);
#endif
#if FORGETS > 0
    run Forget();
#endif
#if FORGETS > 1
    run Forget();
#endif
    skip
  }
}
