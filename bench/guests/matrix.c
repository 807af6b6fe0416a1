/* SPDX-License-Identifier: Apache-2.0 */
/* matrix.c - products of 48x48 integer matrices. */

#define N 48

static int a[N][N], b[N][N], c[N][N];

static void multiply(void)
{
	for (int i = 0; i < N; i++) {
		for (int j = 0; j < N; j++) {
			int sum = 0;

			for (int k = 0; k < N; k++)
				sum += a[i][k] * b[k][j];
			c[i][j] = sum;
		}
	}
}

unsigned long run(unsigned int rounds)
{
	unsigned long trace = 0;

	for (int i = 0; i < N; i++) {
		for (int j = 0; j < N; j++) {
			a[i][j] = i * 3 + j;
			b[i][j] = i - j * 5;
		}
	}
	while (rounds--) {
		multiply();
		for (int i = 0; i < N; i++) {
			trace += (unsigned int)c[i][i];
			for (int j = 0; j < N; j++)
				a[i][j] = c[i][j] >> 7;
		}
	}
	return trace;
}
