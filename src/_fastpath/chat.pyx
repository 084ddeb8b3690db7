"""OpenAI's chat completions, the usual ones, in one pass over the bytes; see the stub.

Theory. A decoder that makes objects spends most of its time on objects that nobody looks at. Here `jsonscan` has found the
members of the top level and what may be at odds with RFC 8259; each value is then walked once more, strictly, and what
governs is taken from the bytes on the way.

Rules.
- The walk is strict and narrow: it returns -1 (UNSURE) for a fault and for whatever it does not care to read, and the
  dialect's reader decides. So it may be stricter than a decoder, and never laxer.
- Functions that read take `at`, where to begin, and `end`, one past the last byte they may look at, and return the offset
  behind what they read. Recursion is bounded: what nests deeper than MAX_DEPTH is not read.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, strlen

from _fastpath.jsonscan cimport (
    MAX_DEPTH, Member, Scan, begin_scan, member_named, read_body, refuse, skip_plain, unescape,
)
from _fastpath.usage cimport Usage

cdef enum:
    UNSURE = -1
    QUOTE = 0x22
    BACKSLASH = 0x5C
    MAX_DIGITS = 10

cdef enum:
    C_TOKENS_A_MESSAGE = 4      # three, and one of the role (OpenAI cookbook, "How to count tokens with tiktoken")
    C_TOKENS_OF_PRIMING = 3
    C_MAX_CHOICES = 128
    C_MOST_TOKENS = 100_000_000

TOKENS_A_MESSAGE = C_TOKENS_A_MESSAGE
TOKENS_OF_PRIMING = C_TOKENS_OF_PRIMING
MAX_CHOICES = C_MAX_CHOICES
MOST_TOKENS = C_MOST_TOKENS

cdef struct Span:
    Py_ssize_t start
    Py_ssize_t end      # 0 where there is no such span


@cython.final
cdef class Reading:
    def __init__(
        self,
        str model,
        Py_ssize_t model_start,
        Py_ssize_t model_end,
        Py_ssize_t close,
        bint stream=False,
        bint include_usage=False,
        Py_ssize_t options_start=-1,
        Py_ssize_t options_end=-1,
    ):
        self.model = model
        self.model_start = model_start
        self.model_end = model_end
        self.close = close
        self.stream = stream
        self.include_usage = include_usage
        self.options_start = options_start
        self.options_end = options_end
        self.texts = []
        self.max_output_tokens = -1
        self.choices = 1


# --- the strict walk (RFC 8259) -----------------------------------------------------------------------------------

cdef inline Py_ssize_t skip_space(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    while at < end and (data[at] == c" " or data[at] == c"\n" or data[at] == c"\r" or data[at] == c"\t"):
        at += 1
    return at


cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return c"0" <= byte <= c"9"


cdef inline bint is_hex(uint8_t byte) noexcept nogil:
    return is_digit(byte) or c"a" <= (byte | 0x20) <= c"f"


cdef inline bint is_hex4(const uint8_t* data) noexcept nogil:
    return is_hex(data[0]) and is_hex(data[1]) and is_hex(data[2]) and is_hex(data[3])


cdef Py_ssize_t unicode_escape_size(const uint8_t* data, Py_ssize_t room) noexcept nogil:
    """Of `\\uXXXX`, or of the two that are a pair of surrogates; UNSURE for half a pair, as for anything else."""
    if room < 6 or not is_hex4(data + 2):
        return UNSURE
    if (data[2] | 0x20) != c"d" or data[3] < c"8":
        return 6
    if (data[3] | 0x20) > c"b" or room < 12 or data[6] != BACKSLASH or data[7] != c"u" or not is_hex4(data + 8):
        return UNSURE
    return 12 if (data[8] | 0x20) == c"d" and (data[9] | 0x20) >= c"c" else UNSURE


cdef Py_ssize_t skip_string(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, bint* escaped) noexcept nogil:
    """`at` is the opening quote. `jsonscan` has judged UTF-8 and control bytes."""
    cdef uint8_t byte
    cdef Py_ssize_t size
    at += 1
    escaped[0] = False
    while True:
        at = skip_plain(data, at, end)
        if at >= end:
            return UNSURE
        byte = data[at]
        if byte == QUOTE:
            return at + 1
        if byte >= 0x80:
            while at < end and data[at] >= 0x80:
                at += 1
        elif byte != BACKSLASH or end - at < 2:
            return UNSURE
        elif data[at + 1] == c"u":
            size = unicode_escape_size(data + at, end - at)
            if size < 0:
                return UNSURE
            escaped[0] = True
            at += size
        elif data[at + 1] in (c'"', c"\\", c"/", c"b", c"f", c"n", c"r", c"t"):
            escaped[0] = True
            at += 2
        else:
            return UNSURE


cdef inline Py_ssize_t skip_digits(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """At least one."""
    cdef Py_ssize_t start = at
    while at < end and is_digit(data[at]):
        at += 1
    return at if at > start else UNSURE


cdef Py_ssize_t skip_number(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    if at < end and data[at] == c"-":
        at += 1
    if at < end and data[at] == c"0":
        at += 1
    else:
        at = skip_digits(data, at, end)
    if 0 <= at < end and data[at] == c".":
        at = skip_digits(data, at + 1, end)
    if 0 <= at < end and (data[at] | 0x20) == c"e":
        at += 1
        if at < end and (data[at] == c"+" or data[at] == c"-"):
            at += 1
        at = skip_digits(data, at, end)
    return at


cdef inline Py_ssize_t skip_word(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, const char* word
) noexcept nogil:
    cdef Py_ssize_t size = strlen(word)
    return at + size if end - at >= size and memcmp(data + at, word, size) == 0 else UNSURE


cdef Py_ssize_t skip_value(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int room=MAX_DEPTH) noexcept nogil:
    """`room`: how many containers deep it may be."""
    cdef bint escaped
    if at >= end:
        return UNSURE
    if data[at] == QUOTE:
        return skip_string(data, at, end, &escaped)
    if data[at] == c"{":
        return skip_object(data, at, end, room - 1) if room else UNSURE
    if data[at] == c"[":
        return skip_array(data, at, end, room - 1) if room else UNSURE
    if data[at] == c"t":
        return skip_word(data, at, end, b"true")
    if data[at] == c"f":
        return skip_word(data, at, end, b"false")
    if data[at] == c"n":
        return skip_word(data, at, end, b"null")
    return skip_number(data, at, end)


cdef Py_ssize_t skip_array(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int room) noexcept nogil:
    at = skip_space(data, at + 1, end)
    if at < end and data[at] == c"]":
        return at + 1
    while True:
        at = skip_value(data, at, end, room)
        if at < 0:
            return UNSURE
        at = skip_space(data, at, end)
        if at >= end or data[at] != c",":
            return at + 1 if at < end and data[at] == c"]" else UNSURE
        at = skip_space(data, at + 1, end)


cdef Py_ssize_t take_key(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Span* key) noexcept nogil:
    """A key without escapes and its colon; returns where the value begins."""
    cdef bint escaped
    key.start = at + 1
    if at >= end or data[at] != QUOTE:
        return UNSURE
    at = skip_string(data, at, end, &escaped)
    if at < 0 or escaped:
        return UNSURE
    key.end = at - 1
    at = skip_space(data, at, end)
    return skip_space(data, at + 1, end) if at < end and data[at] == c":" else UNSURE


cdef inline Py_ssize_t next_member(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Behind a value: where the next key begins, or the closing brace; UNSURE for anything else."""
    at = skip_space(data, at, end)
    if at < end and data[at] == c"}":
        return at
    if at >= end or data[at] != c",":
        return UNSURE
    at = skip_space(data, at + 1, end)
    return at if at < end and data[at] == QUOTE else UNSURE


cdef Py_ssize_t skip_object(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int room) noexcept nogil:
    cdef Span key
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = take_key(data, at, end, &key)
        if at >= 0:
            at = skip_value(data, at, end, room)
        if at >= 0:
            at = next_member(data, at, end)
    return at + 1 if 0 <= at < end else UNSURE


# --- what governs -------------------------------------------------------------------------------------------------

cdef inline bint is_key(const uint8_t* data, Span key, const char* name) noexcept nogil:
    cdef Py_ssize_t size = strlen(name)
    return key.end - key.start == size and memcmp(data + key.start, name, size) == 0


cdef inline bint is_null(const uint8_t* data, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    return end - start == 4 and data[start] == c"n"


cdef int64_t whole_number(const uint8_t* data, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """A number of digits alone; UNSURE for any other."""
    cdef int64_t value = 0
    cdef Py_ssize_t at
    if end - start > MAX_DIGITS or end == start or (data[start] == c"0" and end - start > 1):
        return UNSURE
    for at in range(start, end):
        if not is_digit(data[at]):
            return UNSURE
        value = value * 10 + (data[at] - c"0")
    return value


cdef str text_of(const uint8_t* data, Py_ssize_t start, Py_ssize_t end, bint escaped):
    """What stands between a string's quotes; None where no UTF-8 says it (a lone surrogate)."""
    cdef uint8_t* room
    cdef Py_ssize_t size
    if not escaped:
        return PyUnicode_DecodeUTF8(<const char*>data + start, end - start, NULL)
    room = <uint8_t*>malloc(end - start)
    if room == NULL:
        raise MemoryError
    try:
        size = unescape(data + start, end - start, room)
        return PyUnicode_DecodeUTF8(<const char*>room, size, NULL) if size >= 0 else None
    except UnicodeDecodeError:
        return None
    finally:
        free(room)


cdef Py_ssize_t read_message(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, list texts) except -2:
    """One message whose content is text. `at` is its brace."""
    cdef Span key, content, tool_calls
    cdef Py_ssize_t start
    cdef bint has_role = False, escaped = False, unused
    cdef str text
    content = tool_calls = Span(0, 0)
    if at >= end or data[at] != c"{":
        return UNSURE
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = start = take_key(data, at, end, &key)
        if at < 0:
            return UNSURE
        if is_key(data, key, b"content"):
            if content.end or at >= end:
                return UNSURE
            if data[at] == QUOTE:
                at = skip_string(data, at, end, &escaped)
            else:
                at = skip_word(data, at, end, b"null")
            content = Span(start, at)
        elif is_key(data, key, b"role"):
            if has_role or at >= end or data[at] != QUOTE:
                return UNSURE
            has_role = True
            at = skip_string(data, at, end, &unused)
        elif is_key(data, key, b"tool_calls"):
            if tool_calls.end:
                return UNSURE
            at = skip_value(data, at, end)
            tool_calls = Span(start, at)
        elif is_key(data, key, b"name"):
            return UNSURE
        else:
            at = skip_value(data, at, end)
        if at >= 0:
            at = next_member(data, at, end)
    if not 0 <= at < end or not has_role:
        return UNSURE
    if content.end and data[content.start] == QUOTE:
        text = text_of(data, content.start + 1, content.end - 1, escaped)
        if text is None:
            return UNSURE
        texts.append(text)
    if tool_calls.end and not is_null(data, tool_calls.start, tool_calls.end):
        texts.append(text_of(data, tool_calls.start, tool_calls.end, False))
    return at + 1


cdef Py_ssize_t read_messages(const uint8_t* data, Member* messages, list texts) except -2:
    """How many there are."""
    cdef Py_ssize_t at, end = messages.end, count = 0
    if data[messages.start] != c"[":
        return UNSURE
    at = skip_space(data, messages.start + 1, end)
    if at < end and data[at] == c"]":
        return 0
    while True:
        at = read_message(data, at, end, texts)
        if at < 0:
            return UNSURE
        count += 1
        at = skip_space(data, at, end)
        if at >= end or data[at] != c",":
            return count if at == end - 1 else UNSURE
        at = skip_space(data, at + 1, end)


cdef inline bint take_number(Scan* state, const char* name, int64_t* value) noexcept nogil:
    """False where the member is no whole number; `value` stays where it is absent or null."""
    cdef Member* member = member_named(state, name)
    if member == NULL or is_null(state.data, member.start, member.end):
        return True
    value[0] = whole_number(state.data, member.start, member.end)
    return value[0] >= 0


cdef Reading read_scanned(Scan* state):
    cdef const uint8_t* data = state.data
    cdef Member* model = member_named(state, b"model")
    cdef Member* member
    cdef Reading reading
    cdef int64_t choices = 1, most = -1, completion = -1
    cdef Py_ssize_t count = 0
    cdef bint escaped
    cdef int i
    if state.resolved_base != NULL:     # a key with escapes
        return None
    for i in range(state.count):
        if skip_value(data, state.members[i].start, state.members[i].end) != state.members[i].end:
            return None
    if model == NULL or model.end - model.start < 3 or data[model.start] != QUOTE:
        return None
    skip_string(data, model.start, model.end, &escaped)
    member = member_named(state, b"stream_options")
    if escaped or (member != NULL and not is_null(data, member.start, member.end)):
        return None
    reading = Reading.__new__(Reading)
    reading.model = PyUnicode_DecodeUTF8(<const char*>data + model.start + 1, model.end - model.start - 2, NULL)
    reading.model_start = model.start
    reading.model_end = model.end
    reading.close = state.closing
    reading.options_start = member.start if member != NULL else -1
    reading.options_end = member.end if member != NULL else -1
    reading.texts = []
    member = member_named(state, b"stream")
    if member != NULL and not is_null(data, member.start, member.end):
        if data[member.start] != c"t" and data[member.start] != c"f":
            return None
        reading.stream = data[member.start] == c"t"
    member = member_named(state, b"messages")
    if member != NULL:
        count = read_messages(data, member, reading.texts)
    if not (
        count >= 0
        and take_number(state, b"n", &choices)
        and take_number(state, b"max_tokens", &most)
        and take_number(state, b"max_completion_tokens", &completion)
    ):
        return None
    if completion >= 0:
        most = completion
    if not 1 <= choices <= C_MAX_CHOICES or most == 0 or most > C_MOST_TOKENS:
        return None
    reading.choices = choices
    reading.max_output_tokens = most
    reading.fixed_tokens = C_TOKENS_OF_PRIMING + C_TOKENS_A_MESSAGE * count
    take_declared(state, b"tools", reading.texts)
    take_declared(state, b"functions", reading.texts)
    take_declared(state, b"response_format", reading.texts)
    return reading


cdef int take_declared(Scan* state, const char* name, list texts) except -1:
    """What is declared as JSON is counted as it is written."""
    cdef Member* member = member_named(state, name)
    if member != NULL and not is_null(state.data, member.start, member.end):
        texts.append(text_of(state.data, member.start, member.end, False))
    return 0


cpdef Reading read_request(bytes body, int max_depth):
    cdef Scan state
    if body is None:
        raise TypeError("body must be bytes")
    if not 1 <= max_depth <= MAX_DEPTH:
        raise ValueError(f"max_depth must be from 1 to {MAX_DEPTH}")
    begin_scan(&state, body, max_depth)
    try:
        if read_body(&state) < 0:
            refuse(&state)
        return read_scanned(&state)
    finally:
        free(state.resolved_base)


# --- answers ------------------------------------------------------------------------------------------------------

cdef Py_ssize_t take_count(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int64_t* value) noexcept nogil:
    """A count of tokens, or null, which is none. Of a key that stands twice the last one counts, here and below."""
    cdef Py_ssize_t start = at
    value[0] = 0
    if at < end and data[at] == c"n":
        return skip_word(data, at, end, b"null")
    at = skip_number(data, at, end)
    if at < 0:
        return UNSURE
    value[0] = whole_number(data, start, at)
    return at if 0 <= value[0] <= C_MOST_TOKENS else UNSURE


cdef Py_ssize_t take_details(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, const char** names, int64_t** values, int count
) noexcept nogil:
    """An object of counts, of which those in `names` are wanted; or null."""
    cdef Span key
    cdef int i
    for i in range(count):
        values[i][0] = 0
    if at < end and data[at] == c"n":
        return skip_word(data, at, end, b"null")
    if at >= end or data[at] != c"{":
        return UNSURE
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = take_key(data, at, end, &key)
        if at < 0:
            return UNSURE
        for i in range(count):
            if is_key(data, key, names[i]):
                at = take_count(data, at, end, values[i])
                break
        else:
            at = skip_value(data, at, end)
        if at >= 0:
            at = next_member(data, at, end)
    return at + 1 if 0 <= at < end else UNSURE


cdef Py_ssize_t take_usage(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Usage usage) noexcept nogil:
    """The object of usage. `at` is its brace."""
    cdef Span key
    cdef const char* prompt_names[3]
    cdef int64_t* prompt_values[3]
    cdef const char* completion_names[2]
    cdef int64_t* completion_values[2]
    prompt_names[:] = [b"cached_tokens", b"cache_creation_tokens", b"audio_tokens"]
    prompt_values[:] = [&usage.cache_read, &usage.cache_write, &usage.input_audio]
    completion_names[:] = [b"reasoning_tokens", b"audio_tokens"]
    completion_values[:] = [&usage.reasoning, &usage.output_audio]
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = take_key(data, at, end, &key)
        if at < 0:
            return UNSURE
        if is_key(data, key, b"prompt_tokens"):
            at = take_count(data, at, end, &usage.input)
        elif is_key(data, key, b"completion_tokens"):
            at = take_count(data, at, end, &usage.output)
        elif is_key(data, key, b"prompt_tokens_details"):
            at = take_details(data, at, end, prompt_names, prompt_values, 3)
        elif is_key(data, key, b"completion_tokens_details"):
            at = take_details(data, at, end, completion_names, completion_values, 2)
        else:
            at = skip_value(data, at, end)
        if at >= 0:
            at = next_member(data, at, end)
    # Parts are together never more than their whole, or they would earn money.
    usage.cache_read = min(usage.cache_read, usage.input)
    usage.cache_write = min(usage.cache_write, usage.input - usage.cache_read)
    usage.input_audio = min(usage.input_audio, usage.input - usage.cache_read - usage.cache_write)
    usage.reasoning = min(usage.reasoning, usage.output)
    usage.output_audio = min(usage.output_audio, usage.output)
    return at + 1 if 0 <= at < end else UNSURE


cdef Py_ssize_t take_choice(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Span* reason) noexcept nogil:
    """A choice; `reason` becomes the text of its finish reason."""
    cdef Span key
    cdef Py_ssize_t start
    cdef bint escaped = False
    reason.start = reason.end = 0
    if at >= end or data[at] != c"{":
        return UNSURE
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = start = take_key(data, at, end, &key)
        if at < 0:
            return UNSURE
        if not is_key(data, key, b"finish_reason"):
            at = skip_value(data, at, end)
        elif at < end and data[at] == c"n":
            reason.start = reason.end = 0
            at = skip_word(data, at, end, b"null")
        elif at < end and data[at] == QUOTE:
            at = skip_string(data, at, end, &escaped)
            if at < 0 or escaped:
                return UNSURE
            reason.start = start + 1
            reason.end = at - 1
        else:
            return UNSURE
        if at >= 0:
            at = next_member(data, at, end)
    return at + 1 if 0 <= at < end else UNSURE


cdef Py_ssize_t take_choices(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Span* reason) noexcept nogil:
    """A list of choices, or null; `reason` becomes the last one's."""
    reason.start = reason.end = 0
    if at < end and data[at] == c"n":
        return skip_word(data, at, end, b"null")
    if at >= end or data[at] != c"[":
        return UNSURE
    at = skip_space(data, at + 1, end)
    if at < end and data[at] == c"]":
        return at + 1
    while True:
        at = take_choice(data, at, end, reason)
        if at < 0:
            return UNSURE
        at = skip_space(data, at, end)
        if at >= end or data[at] != c",":
            return at + 1 if at < end and data[at] == c"]" else UNSURE
        at = skip_space(data, at + 1, end)


cdef Py_ssize_t take_answer(
    const uint8_t* data, Py_ssize_t end, Usage usage, bint* has_usage, Span* reason
) noexcept nogil:
    """The whole body; returns its end."""
    cdef Span key
    cdef Py_ssize_t at = skip_space(data, 0, end)
    if at == end or data[at] != c"{":
        return UNSURE
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = take_key(data, at, end, &key)
        if at < 0 or at >= end:
            return UNSURE
        if is_key(data, key, b"choices"):
            at = take_choices(data, at, end, reason)
        elif not is_key(data, key, b"usage"):
            at = skip_value(data, at, end)
        elif has_usage[0] or (data[at] != c"{" and data[at] != c"n"):
            return UNSURE
        elif data[at] == c"n":
            at = skip_word(data, at, end, b"null")
        else:
            has_usage[0] = True
            at = take_usage(data, at, end, usage)
        if at >= 0:
            at = next_member(data, at, end)
    return skip_space(data, at + 1, end) if 0 <= at < end else UNSURE


cpdef tuple read_answer(bytes body):
    cdef const uint8_t* data
    cdef Py_ssize_t end
    cdef Usage usage = Usage.__new__(Usage)
    cdef Span reason = Span(0, 0)
    cdef bint has_usage = False
    if body is None:
        raise TypeError("body must be bytes")
    data = <const uint8_t*>PyBytes_AS_STRING(body)
    end = PyBytes_GET_SIZE(body)
    if take_answer(data, end, usage, &has_usage, &reason) != end:
        return None
    try:
        text = PyUnicode_DecodeUTF8(<const char*>data + reason.start, reason.end - reason.start, NULL)
    except UnicodeDecodeError:
        return None
    return (usage if has_usage else None), text
