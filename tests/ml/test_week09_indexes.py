"""Week 9: flat, k-means, IVF, PQ, IVF-PQ and HNSW against FAISS, with transplanted parts where both must agree."""

import faiss
import numpy as np
import pytest

from ml.lesson import seed_everything
from ml.week09_retrieval import exercises, faiss_indexes
from ml.week09_retrieval.compare import exact_neighbours, measure
from ml.week09_retrieval.data import clustered
from ml.week09_retrieval.flat import FlatIndex, smallest, squared_distances
from ml.week09_retrieval.hnsw import HNSWIndex
from ml.week09_retrieval.ivf import IVFIndex
from ml.week09_retrieval.kmeans import kmeans, nearest_centroids
from ml.week09_retrieval.metrics import recall_at
from ml.week09_retrieval.pq import IVFPQIndex, PQIndex, ProductQuantizer

DIMENSIONS = 24


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    faiss.omp_set_num_threads(1)


@pytest.fixture(scope="module")
def cloud():
    """Vectors (1000, 24), queries (80, 24) and the exact ids (80, 10)."""
    table = clustered(1080, DIMENSIONS, seed_everything(0))
    return table[:1000], table[1000:], exact_neighbours(table[:1000], table[1000:])


@pytest.fixture(scope="module")
def graph(cloud):
    index = HNSWIndex(DIMENSIONS, m=8, ef_construction=60)
    index.add(cloud[0])
    return index


def test_flat_equals_faiss(cloud):
    vectors, queries, _ = cloud
    ours, theirs = FlatIndex(DIMENSIONS), faiss_indexes.flat(DIMENSIONS)
    for part in (vectors[:700], vectors[700:]):
        ours.add(part)
        theirs.add(part)
    (distances, ids), (expected, expected_ids) = ours.search(queries, 20), theirs.search(queries, 20)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(distances, expected, atol=1e-5)
    assert ours.compared == 80 * 1000
    cosines = queries @ vectors.T
    np.testing.assert_array_equal(ids[:, 0], cosines.argmax(axis=1))  # unit vectors: nearest is most similar
    np.testing.assert_allclose(distances[:, 0], 2 - 2 * cosines.max(axis=1), atol=1e-5)


def test_flat_of_odd_input():
    index = FlatIndex(3)
    assert index.search(np.zeros((2, 3)), 2)[1].tolist() == [[-1, -1], [-1, -1]]
    index.add([[0, 0, 1], [0, 1, 0]])
    distances, ids = index.search([[0, 0, 1]], 3)
    assert ids.tolist() == [[0, 1, -1]]
    assert distances.tolist() == [[0, 2, np.inf]]
    for wrong in ([[1, 2]], [1, 2, 3], [[1, 2, np.nan]]):
        with pytest.raises(ValueError, match="vectors"):
            index.add(wrong)


def test_smallest_sorts_and_fills_up():
    distances, ids = smallest(np.array([[3, 1, 2, 0]], dtype=np.float32), 3, np.array([7, 8, 9, 10]))
    assert (distances.tolist(), ids.tolist()) == ([[0, 1, 2]], [[10, 8, 9]])


def test_kmeans_lowers_the_loss_and_fills_empty_clusters(cloud):
    vectors = cloud[0]
    losses = []
    for rounds in (1, 2, 5, 25):
        centroids = kmeans(vectors, 30, np.random.default_rng(0), rounds)
        losses.append(squared_distances(vectors, centroids).min(axis=1).mean())
    assert losses == sorted(losses, reverse=True)
    theirs = faiss.Kmeans(DIMENSIONS, 30, niter=25, seed=1, min_points_per_centroid=1)
    theirs.train(vectors)
    assert losses[-1] <= theirs.obj[-1] / len(vectors) * 1.05
    same = np.zeros((40, 2), dtype=np.float32)
    same[-2:] = [[5, 5], [9, 9]]  # three different points for three clusters: most starts take the same one twice
    found = kmeans(same, 3, np.random.default_rng(0), 60)
    assert squared_distances(same, found).min(axis=1).max() < 1e-3
    with pytest.raises(ValueError, match="clusters"):
        kmeans(vectors[:5], 6, np.random.default_rng(0))


def test_kmeans_centroids_are_the_means(cloud):
    vectors = cloud[0][:300]
    centroids = kmeans(vectors, 5, np.random.default_rng(0), 100)
    assigned = nearest_centroids(vectors, centroids)
    for cluster in range(5):
        np.testing.assert_allclose(centroids[cluster], vectors[assigned == cluster].mean(axis=0), atol=1e-5)


def test_ivf_with_our_centres_in_faiss_finds_the_same(cloud):
    vectors, queries, exact = cloud
    ours = IVFIndex(DIMENSIONS, 20)
    ours.train(vectors)
    theirs = faiss_indexes.transplant_ivf(ours)
    for part in (vectors[:600], vectors[600:]):
        ours.add(part)
        theirs.add(part)
    for probes in (1, 3, 20):
        ours.probes = theirs.nprobe = probes
        (distances, ids), (expected, expected_ids) = ours.search(queries, 10), theirs.search(queries, 10)
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_allclose(distances[ids >= 0], expected[ids >= 0], atol=1e-5)
    np.testing.assert_array_equal(ids, exact)  # all cells probed: exact


def test_ivf_trained_by_both_recalls_the_same(cloud):
    vectors, queries, exact = cloud
    ours, theirs = IVFIndex(DIMENSIONS, 20), faiss_indexes.ivf(DIMENSIONS, 20)
    for index in (ours, theirs):
        index.train(vectors)
        index.add(vectors)
    recalls = []
    for probes in (1, 2, 4, 8):
        ours.probes = theirs.nprobe = probes
        recalls.append([recall_at(index.search(queries, 10)[1], exact) for index in (ours, theirs)])
    assert np.ptp(recalls, axis=1).max() < 0.08
    assert recalls[0][0] < recalls[-1][0]
    with pytest.raises(ValueError, match="trained"):
        IVFIndex(4, 2).add(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="probes"):
        IVFIndex(4, 2, probes=3)


def test_pq_with_our_codebook_in_faiss_gives_the_same(cloud):
    vectors, queries, _ = cloud
    ours = PQIndex(DIMENSIONS, 6)
    ours.train(vectors)
    ours.add(vectors)
    theirs = faiss_indexes.transplant_pq(ours)
    theirs.add(vectors)
    codes = faiss.vector_to_array(theirs.codes).reshape(-1, 6)
    np.testing.assert_array_equal(ours.codes, codes)
    np.testing.assert_allclose(ours.quantizer.decode(codes), theirs.pq.decode(codes), atol=1e-6)
    (distances, ids), (expected, expected_ids) = ours.search(queries, 10), theirs.search(queries, 10)
    np.testing.assert_allclose(distances, expected, atol=1e-4)
    assert (ids == expected_ids).mean() > 0.99  # equal codes tie
    decoded = squared_distances(queries, ours.quantizer.decode(ours.codes))
    np.testing.assert_allclose(distances, np.take_along_axis(decoded, ids, axis=1), atol=1e-4)  # ADC, by decoding


def test_pq_trained_by_both_recalls_the_same(cloud):
    vectors, queries, exact = cloud
    for parts in (4, 12):
        ours, theirs = PQIndex(DIMENSIONS, parts), faiss_indexes.pq(DIMENSIONS, parts)
        for index in (ours, theirs):
            index.train(vectors)
            index.add(vectors)
        recalls = [recall_at(index.search(queries, 10)[1], exact) for index in (ours, theirs)]
        assert abs(recalls[0] - recalls[1]) < 0.05
    with pytest.raises(ValueError, match="equal parts"):
        ProductQuantizer(10, 3)
    with pytest.raises(ValueError, match="trained"):
        ProductQuantizer(10, 5).encode(np.zeros((1, 10)))


def test_ivfpq_with_our_parts_in_faiss_finds_the_same(cloud):
    vectors, queries, _ = cloud
    ours = IVFPQIndex(DIMENSIONS, 8, 6)
    ours.train(vectors)
    ours.add(vectors)
    theirs = faiss_indexes.transplant_ivfpq(ours)
    theirs.add(vectors)
    for probes in (1, 4):
        ours.probes = theirs.nprobe = probes
        (distances, ids), (expected, expected_ids) = ours.search(queries, 10), theirs.search(queries, 10)
        np.testing.assert_allclose(distances, expected, atol=1e-4)
        assert (ids == expected_ids).mean() > 0.99


def test_ivfpq_trained_by_both_recalls_the_same(cloud):
    vectors, queries, exact = cloud
    recalls = []
    for index in (IVFPQIndex(DIMENSIONS, 16, 6, probes=16), faiss_indexes.ivfpq(DIMENSIONS, 16, 6)):
        index.nprobe = 16
        index.train(vectors)
        index.add(vectors)
        recalls.append(recall_at(index.search(queries, 10)[1], exact))
    assert abs(recalls[0] - recalls[1]) < 0.05
    with pytest.raises(ValueError, match="one call"):
        index_twice(vectors[:300])


def index_twice(vectors):
    index = IVFPQIndex(DIMENSIONS, 2, 6)
    index.train(vectors)
    index.add(vectors)
    index.add(vectors)


def test_hnsw_recalls_as_faiss_does(cloud, graph):
    vectors, queries, exact = cloud
    theirs = faiss_indexes.hnsw(DIMENSIONS, 8, 60)
    theirs.add(vectors)
    for beam in (10, 30, 100):
        graph.ef = theirs.hnsw.efSearch = beam
        recalls = [measure(index, queries, exact, "", "", beam).recall for index in (graph, theirs)]
        assert abs(recalls[0] - recalls[1]) < 0.06
    assert recalls[0] > 0.97


def test_hnsw_search_in_faiss_graph_finds_the_same(cloud):
    vectors, queries, _ = cloud
    theirs = faiss_indexes.hnsw(DIMENSIONS, 8, 60)
    theirs.add(vectors)
    ours = faiss_indexes.read_graph(theirs, vectors)
    assert len(ours.layers) > 2
    for beam in (10, 40):
        ours.ef = theirs.hnsw.efSearch = beam
        (distances, ids), (expected, expected_ids) = ours.search(queries, 10), theirs.search(queries, 10)
        assert (ids == expected_ids).mean() > 0.995
        np.testing.assert_allclose(np.median(distances - expected), 0, atol=1e-6)


def test_hnsw_graph_keeps_its_promises(graph):
    sizes = [len(layer) for layer in graph.layers]
    assert sizes[0] == 1000
    assert 1000 / 8 * 0.6 < sizes[1] < 1000 / 8 * 1.4  # P(level >= 1) = 1 / m
    for depth, layer in enumerate(graph.layers):
        above = set(graph.layers[depth + 1]) if depth + 1 < len(graph.layers) else {graph.entry}
        assert above <= set(layer)
        for node, links in layer.items():
            assert len(links) <= (8 if depth else 16)
            assert node not in links
            assert len(set(links)) == len(links)
            assert set(links) <= set(layer)
    reached, frontier = {graph.entry}, [graph.entry]
    while frontier:
        fresh = [node for node in graph.layers[0][frontier.pop()] if node not in reached]
        reached.update(fresh)
        frontier.extend(fresh)
    assert len(reached) > 0.99 * 1000


def test_hnsw_of_odd_input():
    index = HNSWIndex(2)
    assert index.search([[0, 0]], 2)[1].tolist() == [[-1, -1]]
    index.add([[0, 0], [1, 1], [1, 1], [1, 1]])
    assert index.search([[0, 0]], 6)[1][0][0] == 0
    assert sorted(index.search([[1, 1]], 4)[1][0].tolist()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="at least 2"):
        HNSWIndex(2, m=1)


def test_hnsw_is_the_same_with_the_same_seed(cloud):
    first, second = (HNSWIndex(DIMENSIONS, m=4, ef_construction=20, seed=5) for _ in range(2))
    for index in (first, second):
        index.add(cloud[0][:200])
    assert first.layers == second.layers


def test_exercise_reranking_mends_pq(cloud):
    vectors, queries, exact = cloud
    index = PQIndex(DIMENSIONS, 4)
    index.train(vectors)
    index.add(vectors)
    plain = recall_at(index.search(queries, 10)[1], exact)
    distances, ids = exercises.reranked(index, vectors, queries, 10, 100)
    assert recall_at(ids, exact) > max(plain + 0.2, 0.9)
    assert (np.diff(distances, axis=1) >= 0).all()


def test_exercise_links_to_the_nearest_only_make_islands():
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((20, 8))
    vectors = (centres[np.arange(800) % 20] + 0.1 * generator.standard_normal((800, 8))).astype(np.float32)
    exact = exact_neighbours(vectors, vectors[:60])
    recalls = {}
    for kind in (HNSWIndex, exercises.NearestLinks):
        index = kind(8, m=4, ef_construction=30, ef=10, seed=1)
        index.add(vectors)
        recalls[kind] = recall_at(index.search(vectors[:60], 10)[1], exact)
    assert recalls[HNSWIndex] > recalls[exercises.NearestLinks] + 0.2


def test_exercise_filter_after_the_search_finds_too_few(cloud, graph):
    vectors, queries, _ = cloud
    allowed = np.random.default_rng(0).random(len(vectors)) < 0.1
    exact = FlatIndex(DIMENSIONS)
    exact.add(vectors[allowed])
    truth = np.flatnonzero(allowed)[exact.search(queries, 5)[1]]
    graph.ef = 20
    after = [exercises.filtered_after(graph, query, allowed, 5) for query in queries]
    widening = [exercises.filtered_widening(graph, query, allowed, 5) for query in queries]
    assert np.mean([len(found) for found in after]) < 1.5
    assert all(len(found) == 5 for found in widening)
    assert recall_at(np.array(widening), truth, 5) > 0.95
    nothing = np.zeros(len(vectors), dtype=bool)
    assert exercises.filtered_widening(graph, queries[0], nothing, 5) == []
