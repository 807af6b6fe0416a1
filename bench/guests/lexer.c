/* SPDX-License-Identifier: Apache-2.0 */
/* lexer.c - tokens of a piece of C: a switch for each character, numbers, and keywords by length. */

static const char text[] =
	"static int gcd(int a, int b) { while (b != 0) { int t = a % b; a = b; b = t; } return a; }\n"
	"/* a comment */ struct node { struct node *next; unsigned long value[16]; };\n"
	"int main(void) { for (int i = 0; i < 1000; i++) { if (gcd(i, 42) == 7) total += i * 3; }\n"
	"  return total > 0x1234 ? 0 : 1; } // the end\n";

enum token { END, NAME, KEYWORD, NUMBER, PUNCTUATION, COMMENT, NR_TOKENS };

static unsigned long counts[NR_TOKENS];

static int is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static int is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int same(const char *a, const char *b, unsigned long n)
{
	while (n && *a == *b) {
		a++;
		b++;
		n--;
	}
	return !n && !*b;
}

static int is_keyword(const char *s, unsigned long n)
{
	switch (n) {
	case 2: return same(s, "if", n);
	case 3: return same(s, "int", n) || same(s, "for", n);
	case 4: return same(s, "void", n) || same(s, "long", n);
	case 5: return same(s, "while", n);
	case 6: return same(s, "static", n) || same(s, "return", n) || same(s, "struct", n);
	case 8: return same(s, "unsigned", n);
	default: return 0;
	}
}

static enum token next_token(const char **at, unsigned long *value)
{
	const char *s = *at, *start;

	for (;;) {
		switch (*s) {
		case '\0': *at = s; return END;
		case ' ':
		case '\t':
		case '\n': s++; continue;
		case '/':
			if (s[1] == '*') {
				for (s += 2; s[0] != '*' || s[1] != '/';)
					s++;
				*at = s + 2;
				return COMMENT;
			}
			if (s[1] == '/') {
				while (*s && *s != '\n')
					s++;
				*at = s;
				return COMMENT;
			}
			*at = s + 1;
			return PUNCTUATION;
		case '+':
		case '=':
		case '!':
			*value = (unsigned char)*s;
			*at = s + (s[1] == '=' || s[1] == *s ? 2 : 1);
			return PUNCTUATION;
		default: break;
		}
		break;
	}
	start = s;
	if (is_letter(*s)) {
		while (is_letter(*s) || is_digit(*s))
			*value = *value * 33 + (unsigned char)*s++;
		*at = s;
		return is_keyword(start, (unsigned long)(s - start)) ? KEYWORD : NAME;
	}
	if (is_digit(*s)) {
		while (is_digit(*s) || is_letter(*s))
			*value = *value * 10 + (unsigned char)*s++;
		*at = s;
		return NUMBER;
	}
	*at = s + 1;
	return PUNCTUATION;
}

unsigned long run(unsigned int rounds)
{
	unsigned long value = 0;

	while (rounds--) {
		const char *at = text;
		enum token token;

		do {
			token = next_token(&at, &value);
			counts[token]++;
		} while (token != END);
	}
	for (int t = 0; t < NR_TOKENS; t++)
		value = value * 31 + counts[t];
	return value;
}
