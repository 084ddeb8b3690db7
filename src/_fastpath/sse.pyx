# cython: auto_pickle=False, autotestdict=False
"""Reads the server-sent events that pass (WHATWG HTML, section 9.2) without taking them apart.

Theory. A stream is judged line by line, and events leave whole: what leaves, and all that is known of it, depends on
the bytes alone and never on how they were cut. While nothing is held, events are read where the caller's bytes stand;
only an incomplete event is copied, and line ends are looked for in each of its bytes once, however it trickles in.

Rules.
- An event reaches from the end of the one before it through its blank line, comments and all.
- CR ends a line at once. An LF that follows belongs to the same line end, even where the cut falls between them: it
  shares the fate of the event that it ends.
- An event is oversized by its own length, not by how much of it came at once.
- The look at a payload skips what it does not ask for and resolves no escapes, so a key that is spelt with one is not
  seen. It believes nothing of a payload that is not one object, from its first brace to its last.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from _fastpath.answer cimport DEEPEST, MEDIA, MUTE, PRODUCED, kind_within
from _fastpath.jsonscan cimport find_either, unescape

cdef enum:
    TAB = 0x09
    LF = 0x0A
    CR = 0x0D
    SP = 0x20
    QUOTE = 0x22
    COMMA = 0x2C
    COLON = 0x3A
    OPEN_ARRAY = 0x5B
    BACKSLASH = 0x5C
    CLOSE_ARRAY = 0x5D
    OPEN_OBJECT = 0x7B
    CLOSE_OBJECT = 0x7D

cdef enum:
    MIN_HELD_BYTES = 16             # smallest bound of what is held
    MIN_CAPACITY = 1024             # smallest buffer for it
    KEPT_CAPACITY = 16384           # a larger one is given back when it is empty

# --- a walk through JSON ------------------------------------------------------------------------------------------
# Each function goes on from `walk.at`; False says that the text is malformed or cut.

cdef struct Walk:
    const uint8_t* data
    Py_ssize_t at
    Py_ssize_t end
    Span key                # of the member at whose value the walk stands, between the quotes


cdef inline bint is_blank(uint8_t byte) noexcept nogil:
    return byte == SP or byte == LF or byte == TAB or byte == CR


cdef inline uint8_t next_byte(Walk* walk) noexcept nogil:
    """The byte behind white space, not taken; 0 at the end."""
    while walk.at < walk.end and is_blank(walk.data[walk.at]):
        walk.at += 1
    return walk.data[walk.at] if walk.at < walk.end else 0


cdef inline bint take_string(Walk* walk, Span* inside) noexcept nogil:
    """Takes the string whose opening quote is next."""
    cdef Py_ssize_t at = walk.at + 1
    inside.start = at
    while True:
        at = find_either(walk.data, at, walk.end, QUOTE, BACKSLASH)
        if walk.end - at < 2:
            break
        if walk.data[at] == QUOTE:
            inside.end = at
            walk.at = at + 1
            return True
        at += 2
    return False


cdef inline bint skip_nested(Walk* walk) noexcept nogil:
    """Takes the object or array whose bracket is next."""
    cdef Py_ssize_t depth = 0
    cdef Span inside
    cdef uint8_t byte
    while walk.at < walk.end:
        byte = walk.data[walk.at]
        if byte == QUOTE:
            if not take_string(walk, &inside):
                return False
            continue
        walk.at += 1
        if byte | 0x20 == OPEN_OBJECT:      # which of the two brackets is left to whoever decodes it
            depth += 1
        elif byte | 0x20 == CLOSE_OBJECT:
            depth -= 1
            if depth == 0:
                return True
    return False


cdef inline bint skip_scalar(Walk* walk) noexcept nogil:
    cdef Py_ssize_t start = walk.at
    cdef uint8_t byte
    while walk.at < walk.end:
        byte = walk.data[walk.at]
        if byte == COMMA or byte | 0x20 == CLOSE_OBJECT or is_blank(byte):
            break
        walk.at += 1
    return walk.at > start


cdef inline bint skip_value(Walk* walk) noexcept nogil:
    cdef uint8_t byte = next_byte(walk)
    cdef Span inside
    if byte == QUOTE:
        return take_string(walk, &inside)
    if byte == OPEN_OBJECT or byte == OPEN_ARRAY:
        return skip_nested(walk)
    return skip_scalar(walk)


cdef inline int next_member(Walk* walk) noexcept nogil:
    """Goes on inside an object: 1 with `key` set before the next value, 0 behind the closing brace, -1 if malformed."""
    cdef uint8_t byte = next_byte(walk)
    if byte == COMMA:
        walk.at += 1
        byte = next_byte(walk)
    if byte == CLOSE_OBJECT:
        walk.at += 1
        return 0
    if byte != QUOTE or not take_string(walk, &walk.key) or next_byte(walk) != COLON:
        return -1
    walk.at += 1
    return 1


cdef inline int next_item(Walk* walk) noexcept nogil:
    """Goes on inside an array: 1 before the next value, 0 behind the closing bracket, -1 if malformed."""
    cdef uint8_t byte = next_byte(walk)
    if byte == COMMA:
        walk.at += 1
        byte = next_byte(walk)
    if byte == CLOSE_ARRAY:
        walk.at += 1
        return 0
    return 1 if byte else -1


cdef inline bint key_is(const Walk* walk, const char* name, Py_ssize_t size) noexcept nogil:
    return walk.key.end - walk.key.start == size and memcmp(walk.data + walk.key.start, name, size) == 0


# --- the look at one payload --------------------------------------------------------------------------------------

cdef inline bint take_text(Walk* walk, Span* text) noexcept nogil:
    """A value that counts where it is a string and not empty."""
    text.end = 0
    if next_byte(walk) != QUOTE:
        return skip_value(walk)
    if not take_string(walk, text):
        return False
    if text.start == text.end:
        text.end = 0
    return True


cdef inline bint take_object(Walk* walk, Span* span) noexcept nogil:
    """A value that counts where it is an object."""
    span.end = 0
    if next_byte(walk) != OPEN_OBJECT:
        return skip_value(walk)
    span.start = walk.at
    if not skip_nested(walk):
        return False
    span.end = walk.at
    return True


cdef inline void add_content(Look* look, int kind, Span inside) noexcept nogil:
    if kind == PRODUCED:
        look.content_bytes += inside.end - inside.start
    elif kind == MEDIA:
        look.media_bytes += inside.end - inside.start


cdef bint take_structure(Walk* walk, Look* look, int kind) noexcept nogil:
    """Takes the object or array that is next, and counts the strings in it that were produced."""
    cdef uint8_t[DEEPEST] kinds     # of the containers around; what lies deeper is of the deepest one's
    cdef Py_ssize_t depth = 0
    cdef Span inside
    cdef uint8_t byte
    kinds[0] = kind
    while True:
        byte = next_byte(walk)
        if byte == QUOTE:
            if not take_string(walk, &inside):
                return False
            if next_byte(walk) == COLON:
                walk.at += 1
                kind = kind_within(
                    kinds[min(depth, DEEPEST - 1)], walk.data + inside.start, inside.end - inside.start
                )
                continue
            add_content(look, kind, inside)
        elif byte == 0:
            return False
        else:
            walk.at += 1
            if byte | 0x20 == OPEN_OBJECT:
                depth += 1
                if depth < DEEPEST:
                    kinds[depth] = kind
            elif byte | 0x20 == CLOSE_OBJECT:
                depth -= 1
                if depth == 0:
                    return True
        kind = kinds[min(depth, DEEPEST - 1)]


cdef inline bint take_content(Walk* walk, Look* look, int kind) noexcept nogil:
    cdef uint8_t byte = next_byte(walk)
    cdef Walk ahead
    cdef Span inside
    if byte == QUOTE:
        if not take_string(walk, &inside):
            return False
        look.has_content |= inside.end > inside.start
        add_content(look, kind, inside)
        return True
    if byte == OPEN_OBJECT or byte == OPEN_ARRAY:
        ahead = walk[0]
        ahead.at += 1
        look.has_content |= next_byte(&ahead) | 0x20 != CLOSE_OBJECT
        return take_structure(walk, look, kind)
    return skip_scalar(walk)


cdef bint look_at_delta(Walk* walk, Look* look) noexcept nogil:
    """All that stands in it was produced, but for what is known not to be."""
    cdef int more, kind
    if next_byte(walk) != OPEN_OBJECT:
        return skip_value(walk)
    walk.at += 1
    while True:
        more = next_member(walk)
        if more <= 0:
            return more == 0
        kind = PRODUCED
        if not key_is(walk, b"content", 7):
            kind = kind_within(PRODUCED, walk.data + walk.key.start, walk.key.end - walk.key.start)
        if not (skip_value(walk) if kind == MUTE else take_content(walk, look, kind)):
            return False


cdef bint look_at_choice(Walk* walk, Look* look) noexcept nogil:
    cdef Span reason
    cdef bint well
    cdef int more
    if next_byte(walk) != OPEN_OBJECT:
        return skip_value(walk)
    walk.at += 1
    while True:
        more = next_member(walk)
        if more <= 0:
            return more == 0
        if key_is(walk, b"delta", 5) or key_is(walk, b"message", 7):
            well = look_at_delta(walk, look)
        elif key_is(walk, b"text", 4):
            well = take_content(walk, look, PRODUCED)
        elif key_is(walk, b"finish_reason", 13):
            well = take_text(walk, &reason)
            if reason.end:
                look.finish_reason = reason
        else:
            well = skip_value(walk)
        if not well:
            return False


cdef bint look_at_choices(Walk* walk, Look* look) noexcept nogil:
    cdef int more
    if next_byte(walk) != OPEN_ARRAY:
        return skip_value(walk)
    walk.at += 1
    look.no_choices = next_byte(walk) == CLOSE_ARRAY
    while True:
        more = next_item(walk)
        if more <= 0:
            return more == 0
        if not look_at_choice(walk, look):
            return False


cdef bint look_at_payload(const uint8_t* payload, Py_ssize_t size, Look* look) noexcept nogil:
    """Whether the payload is one object that closes; if not, `look` says nothing."""
    cdef Walk walk
    cdef bint well
    cdef int more
    walk.data = payload
    walk.at = 0
    walk.end = size
    if next_byte(&walk) != OPEN_OBJECT:
        return False
    walk.at += 1
    while True:
        more = next_member(&walk)
        if more <= 0:
            next_byte(&walk)
            return more == 0 and walk.at == walk.end
        if key_is(&walk, b"choices", 7):
            well = look_at_choices(&walk, look)
        elif key_is(&walk, b"model", 5):
            well = take_text(&walk, &look.model)
        elif key_is(&walk, b"usage", 5):
            well = take_object(&walk, &look.usage)
        elif key_is(&walk, b"error", 5):
            look.failed = next_byte(&walk) != c"n"
            well = skip_value(&walk)
        else:
            well = skip_value(&walk)
        if not well:
            return False


# --- the stream ---------------------------------------------------------------------------------------------------

cdef bytes DONE = b"data: [DONE]\n\n"


cdef inline bytes cut(const uint8_t* data, Py_ssize_t start, Py_ssize_t end):
    return PyBytes_FromStringAndSize(<const char*>data + start, end - start)


cdef inline bint is_same(bytes known, const uint8_t* data, Span span) noexcept:
    cdef Py_ssize_t size = span.end - span.start
    return (
        known is not None
        and PyBytes_GET_SIZE(known) == size
        and memcmp(PyBytes_AS_STRING(known), data + span.start, size) == 0
    )


cdef inline bint take_field(
    const uint8_t* buf, Py_ssize_t start, Py_ssize_t end, const char* field, Py_ssize_t size, Span* value
) noexcept nogil:
    """Whether the line is a `field`, and where its value stands."""
    if end - start < size or memcmp(buf + start, field, size) != 0:
        return False
    if end - start > size and buf[start + size] != COLON:
        return False
    value.start = min(end, start + size + 1)
    value.end = end
    if value.start < end and buf[value.start] == SP:
        value.start += 1
    return True


cdef inline bint is_done(const uint8_t* payload, Py_ssize_t size) noexcept nogil:
    """Whether it is the terminal; blanks around it are forgiven."""
    while size > 0 and is_blank(payload[size - 1]):
        size -= 1
    while size > 0 and is_blank(payload[0]):
        payload += 1
        size -= 1
    return size == 6 and memcmp(payload, b"[DONE]", 6) == 0


cdef str text_of(bytes raw):
    """The string between its quotes. Bad escapes are kept and bad UTF-8 replaced: an odd provider is no error."""
    cdef bytes resolved
    cdef Py_ssize_t size
    if raw is None:
        return None
    resolved = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(raw))
    size = unescape(
        <const uint8_t*>PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw), <uint8_t*>PyBytes_AS_STRING(resolved)
    )
    return (resolved[:size] if size >= 0 else raw).decode("utf-8", "replace")


cdef class EventScanner:
    """Server-sent events across arbitrary cuts, as they pass; see the stub."""

    def __init__(self, Py_ssize_t max_held_bytes=1048576):
        if max_held_bytes < MIN_HELD_BYTES:
            raise ValueError(f"max_held_bytes must be at least {MIN_HELD_BYTES}")
        self.max_held = max_held_bytes
        self.first_line = True

    def __dealloc__(self):
        free(self.held)

    @property
    def finish_reason(self):
        return None

    @property
    def at_boundary(self):
        return self.held_size == 0 and not self.passing

    cdef bint judge(self, const uint8_t* payload, Py_ssize_t size, const uint8_t* buf) except -1:
        """Reads the payload of an event that begins at `buf`; whether it is to be hidden."""
        return False

    cpdef bytes feed(self, bytes data):
        """The bytes to send on."""
        cdef Py_ssize_t before = self.held_size
        if data is None:
            raise TypeError("data must be bytes")
        if PyBytes_GET_SIZE(data) == 0:
            return data
        if before == 0:
            return self.read(<const uint8_t*>PyBytes_AS_STRING(data), 0, PyBytes_GET_SIZE(data), data)
        self.hold(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return self.read(self.held, before, self.held_size, None)

    cdef bytes read(self, const uint8_t* buf, Py_ssize_t at, Py_ssize_t size, bytes whole):
        """Reads the new bytes from `at` on. `buf` begins with the current event; it is `whole`, or what is held."""
        cdef Py_ssize_t event = 0           # where the current event begins
        cdef Py_ssize_t leaving = 0         # where the bytes begin that leave next
        cdef Py_ssize_t end
        cdef list pieces = None
        cdef bytes out
        if self.after_cr:
            self.after_cr = False
            if buf[at] == LF:
                at += 1
                self.line = at
                if at == 1 and not self.passing:
                    event = 1
                    leaving = 1 if self.last_hidden else 0
        while True:
            end = find_either(buf, at, size, LF, CR)
            if end == size:
                break
            at = end + 1
            if buf[end] == CR:
                if at == size:
                    self.after_cr = True
                elif buf[at] == LF:
                    at += 1
            if self.take_line(buf, end):
                self.last_hidden = self.end_event(buf, end - event)
                if self.last_hidden:
                    pieces = [] if pieces is None else pieces
                    pieces.append(cut(buf, leaving, event))
                    leaving = at
                event = at
            self.line = at
        if self.passing or size - event > self.max_held:
            self.pass_on()
            self.pass_unread(size - event)
            event = size
        self.move_origin(event)
        if whole is not None and leaving == 0 and event == size:
            return whole
        out = cut(buf, leaving, event)
        if whole is None:
            self.drop_held(event)
        else:
            self.hold(buf + event, size - event)
        if pieces is None:
            return out
        pieces.append(out)
        return b"".join(pieces)

    cpdef bytes finish(self):
        """What may still be sent at the end of the stream: an incomplete event is dropped."""
        self.drop_held(self.held_size)
        self.begin_event()
        self.line = 0
        return b""

    cpdef bytes failed(self, str code, str message):
        """The event that tells of an error."""
        return None

    cdef int take_line(self, const uint8_t* buf, Py_ssize_t end) except -1:
        """Reads the line that ends before `end`; whether it is blank."""
        cdef Py_ssize_t start = self.line
        cdef Span value
        if self.first_line:
            self.first_line = False
            if start == 0 and end >= 3 and memcmp(buf, b"\xef\xbb\xbf", 3) == 0:
                start = 3
        if start == end:
            return True
        if self.passing:
            return False
        if not take_field(buf, start, end, b"data", 4, &value):
            if self.named and take_field(buf, start, end, b"event", 5, &value):
                self.name = value
            return False
        if self.data.end == 0:
            self.data = value
            return False
        if self.data_lines is None:
            self.data_lines = [cut(buf, self.data.start, self.data.end)]
        self.data_lines.append(cut(buf, value.start, value.end))
        return False

    cdef bint end_event(self, const uint8_t* buf, Py_ssize_t size) except -1:
        """Judges the event of `size` bytes, of which `passing` ones have left; whether it is to be hidden."""
        cdef bint hidden = False
        cdef bytes joined
        if self.passing or size > self.max_held:
            self.oversized += not self.passing
            self.pass_unread(size)
        elif self.data_lines is not None:
            joined = b"\n".join(self.data_lines)
            hidden = self.judge(<const uint8_t*>PyBytes_AS_STRING(joined), PyBytes_GET_SIZE(joined), buf)
        elif self.data.end:
            hidden = self.judge(buf + self.data.start, self.data.end - self.data.start, buf)
        self.begin_event()
        return hidden

    cdef void begin_event(self) noexcept:
        self.data.end = self.name.end = 0
        self.data_lines = None
        self.passing = False

    cdef void pass_on(self) noexcept:
        """Lets the bytes of an oversized event leave as they come."""
        if not self.passing:
            self.oversized += 1
            self.begin_event()
            self.passing = True

    cdef inline void pass_unread(self, Py_ssize_t size) noexcept:
        """Nothing is as long as that but what stands in base64."""
        self.media_bytes += size
        self.usage_is_last = False

    cdef inline void move_origin(self, Py_ssize_t offset) noexcept:
        """Offsets count from `offset` on; the line of an event that passes may have begun before."""
        self.line -= offset
        if self.data.end:
            self.data.start -= offset
            self.data.end -= offset
        if self.name.end:
            self.name.start -= offset
            self.name.end -= offset

    cdef int hold(self, const uint8_t* data, Py_ssize_t size) except -1:
        """Appends to what is held."""
        cdef Py_ssize_t capacity = max(self.held_capacity, MIN_CAPACITY)
        cdef void* grown
        while capacity < self.held_size + size:
            capacity *= 2
        if capacity > self.held_capacity:
            grown = realloc(self.held, capacity)
            if grown == NULL:
                raise MemoryError
            self.held = <uint8_t*>grown
            self.held_capacity = capacity
        memcpy(self.held + self.held_size, data, size)
        self.held_size += size
        return 0

    cdef void drop_held(self, Py_ssize_t size) noexcept:
        """Forgets the first `size` bytes held."""
        self.held_size -= size
        if self.held_size == 0 and self.held_capacity > KEPT_CAPACITY:
            free(self.held)
            self.held = NULL
            self.held_capacity = 0
        elif size:
            memmove(self.held, self.held + size, self.held_size)


@cython.final
cdef class ChatScanner(EventScanner):
    """Follows an OpenAI chat or text completion stream; see the stub."""

    def __init__(self, bint hide_usage=False, Py_ssize_t max_held_bytes=1048576):
        EventScanner.__init__(self, max_held_bytes)
        self.hide_usage = hide_usage

    @property
    def finish_reason(self):
        return text_of(self.finish_bytes)

    @property
    def model(self):
        return text_of(self.model_bytes)

    cpdef bytes finish(self):
        """What may still be sent at the end of the stream."""
        cdef bint was_terminal = self.terminal
        if self.held_size == 0:
            return b""
        self.take_line(self.held, self.held_size)
        self.terminal = was_terminal or (self.data_lines is None and self.data.end != 0 and is_done(self.held + self.data.start, self.data.end - self.data.start))
        self.drop_held(self.held_size)
        self.begin_event()
        self.line = 0
        return DONE if self.terminal and not was_terminal else b""

    cdef bint judge(self, const uint8_t* payload, Py_ssize_t size, const uint8_t* buf) except -1:
        """Takes down what the payload says; whether its event is to be hidden."""
        cdef Look look
        if self.data_lines is None and is_done(payload, size):
            self.terminal = True
            return False
        memset(&look, 0, sizeof(Look))
        self.events += 1
        if not look_at_payload(payload, size, &look):
            return False
        self.content_events += look.has_content
        self.content_bytes += look.content_bytes
        self.media_bytes += look.media_bytes
        if look.usage.end:
            self.usage = cut(payload, look.usage.start, look.usage.end)
            self.usage_is_last = True
        elif look.has_content:
            self.usage_is_last = False
        if look.failed and self.error is None:
            self.error = cut(payload, 0, size)
        if look.model.end and self.model_bytes is None:
            self.model_bytes = cut(payload, look.model.start, look.model.end)
        if look.finish_reason.end and not is_same(self.finish_bytes, payload, look.finish_reason):
            self.finish_bytes = cut(payload, look.finish_reason.start, look.finish_reason.end)
        return self.hide_usage and look.no_choices and look.usage.end


cdef class EventFollower(EventScanner):
    """Hands out the events that pass; see the stub."""

    def __init__(self, Py_ssize_t max_held_bytes=1048576):
        EventScanner.__init__(self, max_held_bytes)
        self.named = True
        self.found = []

    cpdef list follow(self, bytes data):
        """The events that are whole with `data`."""
        cdef list found
        self.passed = EventScanner.feed(self, data)
        found, self.found = self.found, []
        return found

    cdef bint judge(self, const uint8_t* payload, Py_ssize_t size, const uint8_t* buf) except -1:
        cdef bytes name
        self.events += 1
        name = cut(buf, self.name.start, self.name.end) if self.name.end else b""
        self.found.append((name, cut(payload, 0, size)))
        return False
