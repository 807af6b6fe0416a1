/* SPDX-License-Identifier: Apache-2.0 */
/* sort.c - quicksort with insertion sort for short pieces, over 4096 random integers a round. */

#define NR 4096
#define SHORT 16

static unsigned int numbers[NR];

static void insertion_sort(unsigned int *v, int n)
{
	for (int i = 1; i < n; i++) {
		unsigned int x = v[i];
		int k = i;

		for (; k > 0 && v[k - 1] > x; k--)
			v[k] = v[k - 1];
		v[k] = x;
	}
}

static void quicksort(unsigned int *v, int n)
{
	while (n > SHORT) {
		unsigned int pivot = v[n / 2];
		int left = 0, right = n - 1;

		while (left <= right) {
			while (v[left] < pivot)
				left++;
			while (v[right] > pivot)
				right--;
			if (left <= right) {
				unsigned int t = v[left];

				v[left++] = v[right];
				v[right--] = t;
			}
		}
		quicksort(v, right + 1);
		v += left;
		n -= left;
	}
	insertion_sort(v, n);
}

unsigned long run(unsigned int rounds)
{
	unsigned int seed = 1;
	unsigned long sum = 0;

	while (rounds--) {
		for (int i = 0; i < NR; i++) {
			seed = seed * 1664525 + 1013904223;
			numbers[i] = seed >> 3;
		}
		quicksort(numbers, NR);
		sum = sum * 31 + numbers[NR / 3];
	}
	return sum;
}
