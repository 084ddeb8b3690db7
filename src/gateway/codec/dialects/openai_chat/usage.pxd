from _fastpath.usage cimport Usage

cpdef Usage usage_from(told)
cpdef Usage usage_of(fragment)
