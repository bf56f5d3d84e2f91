"""What is asked wrongly is refused in words that help."""

import pytest
import torch

from interpreto.concepts import NeuronsAsConcepts, NMFConcepts, PCAConcepts
from interpreto.concepts.activations import read_activations
from interpreto.concepts.interpretations import TopKInputs
from interpreto.concepts.interpretations.topk_inputs import read_indices
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification
from interpreto.errors import FileError, InputError, ModelError, OptionError, TargetError, TokenizerError
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES

POINT = "bert.encoder.layer.0"


@pytest.fixture(scope="module")
def split():
    model, tokenizer = CLASSIFIERS["bert"]()
    return ModelWithSplitPoints(model, 0, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def fitted(split):
    return PCAConcepts(split, nb_concepts=3).fit(split.get_activations(SENTENCES))


def case(error, *words):
    """The error, and what its message must name."""
    return lambda run: _refused(run, error, words)


def _refused(run, error, words):
    with pytest.raises(error) as caught:
        run()
    for word in words:
        assert word in str(caught.value), str(caught.value)


class TestSplitters:
    def test_unknown_split_points_list_their_neighbors(self, split):
        case(OptionError, "bert.encoder.layer.7", "bert.encoder.layer.1")(
            lambda: ModelWithSplitPoints(split.model, "bert.encoder.layer.7", tokenizer=split.tokenizer)
        )

    def test_a_block_beyond_the_last(self, split):
        case(OptionError, "block 5", "-2 to 1")(lambda: ModelWithSplitPoints(split.model, 5, tokenizer=split.tokenizer))

    def test_a_model_without_its_tokenizer(self, split):
        case(TokenizerError, "`tokenizer`", "None")(lambda: ModelWithSplitPoints(split.model, 0))

    def test_an_empty_text_among_others(self, split):
        case(InputError, "`inputs[1]`", "empty")(lambda: split.get_activations(["A film.", " "]))

    def test_a_class_token_that_is_not_there(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
        case(TokenizerError, "CLS_TOKEN", "SAMPLE")(lambda: splitter.get_activations(SENTENCES, "cls_token"))

    def test_words_where_a_text_has_one_row(self, split):
        splitter = SplitterForClassification(split.model, tokenizer=split.tokenizer)
        case(OptionError, "word", "SAMPLE")(lambda: splitter.samples(SENTENCES, "word"))


class TestConcepts:
    def test_unfitted(self, split):
        explainer = PCAConcepts(split, nb_concepts=3)
        for run in (
            lambda: explainer.encode_activations(torch.ones(2, 32)),
            lambda: TopKInputs(concept_explainer=explainer).interpret(SENTENCES),
            lambda: explainer.concept_output_gradient(SENTENCES),
            explainer.get_inputs_to_concepts_model,
        ):
            case(ModelError, "not fitted", "fit(activations)")(run)

    def test_wrong_width(self, fitted):
        case(InputError, "width 5", "32")(lambda: fitted.encode_activations(torch.ones(2, 5)))
        case(InputError, "width 5", "32")(
            lambda: TopKInputs(concept_explainer=fitted).interpret(SENTENCES[:1], torch.ones(1, 5))
        )

    def test_negative_activations_of_nmf(self, split):
        case(InputError, "negative", "force_relu")(
            lambda: NMFConcepts(split, nb_concepts=2).fit(split.get_activations(SENTENCES))
        )

    def test_rows_that_are_not_finite(self, split, fitted):
        rows = split.get_activations(SENTENCES, activation_granularity="word")[POINT].clone()
        rows[4, 2] = float("nan")
        case(InputError, "row 4", "NaN")(lambda: PCAConcepts(split, nb_concepts=2).fit(rows))
        case(InputError, "row 4", "NaN")(lambda: TopKInputs(concept_explainer=fitted).interpret(SENTENCES, rows))

    def test_activations_with_their_predictions(self, split):
        found = split.get_activations(SENTENCES, include_predicted_classes=True)
        case(InputError, "tuple", "pass the first")(lambda: read_activations(found, POINT, torch.device("cpu")))

    @pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
    @pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
    def test_sparse_activations(self, layout):
        rows = getattr(torch.eye(4), layout)()
        case(InputError, "layout torch.sparse", "to_dense()")(lambda: PCAConcepts(None, 2).fit(rows))
        case(InputError, "to_dense()")(lambda: NeuronsAsConcepts(None, 4).encode_activations(rows))

    def test_more_concepts_than_there_can_be(self, split):
        case(OptionError, "`nb_concepts`", "33")(
            lambda: PCAConcepts(split, nb_concepts=33).fit(split.get_activations(SENTENCES))
        )

    def test_a_store_of_another_model(self, fitted, tmp_path):
        model, tokenizer = CLASSIFIERS["bert"]()
        with torch.no_grad():
            model.bert.embeddings.word_embeddings.weight.mul_(2)
        other = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
        store = other.store_activations(SENTENCES, tmp_path / "store", "word")
        case(FileError, "another model")(lambda: TopKInputs(concept_explainer=fitted).interpret(latent_activations=store))
        case(FileError, "another model")(lambda: PCAConcepts(fitted.splitter, nb_concepts=2).fit(store))

    def test_no_splitter(self):
        explainer = NeuronsAsConcepts(None).fit(torch.ones(1, 4))
        for run in (
            lambda: TopKInputs(concept_explainer=explainer).interpret(SENTENCES),
            lambda: explainer.concept_output_gradient(SENTENCES),
            explainer.get_inputs_to_concepts_model,
        ):
            case(OptionError, "splitter", "load_concepts")(run)


class TestInterpretations:
    @pytest.mark.parametrize("rows", [3, 80])
    def test_rows_of_other_inputs(self, fitted, rows):
        units = sum(len(sample.units) for sample in fitted.splitter.samples(SENTENCES, "word"))
        case(InputError, f"{rows} rows", f"{units} units", "WORD")(
            lambda: TopKInputs(concept_explainer=fitted).interpret(SENTENCES, torch.ones(rows, 32))
        )

    def test_a_store_of_another_granularity(self, fitted, tmp_path):
        store = fitted.splitter.store_activations(SENTENCES, tmp_path / "store", "token")
        case(InputError, "'token'", "'word'")(
            lambda: TopKInputs(concept_explainer=fitted, activation_granularity="word").interpret(latent_activations=store)
        )

    @pytest.mark.parametrize("indices", [3, -1, [0, 9], "some", [], True, 1.5])
    def test_concepts_that_are_not(self, indices):
        case(OptionError, "`concepts_indices`")(lambda: read_indices(indices, 3))

    def test_nothing_to_read(self, fitted):
        interpretation = TopKInputs(concept_explainer=fitted)
        case(InputError, "`inputs`", "use_vocab")(interpretation.interpret)
        case(InputError, "hold no texts")(lambda: interpretation.interpret(latent_activations=torch.ones(3, 32)))

    def test_options_that_exclude_each_other(self, fitted):
        case(OptionError, "`ngrams`", "use_vocab")(lambda: TopKInputs(concept_explainer=fitted, use_vocab=True, ngrams=1))
        vocabulary = TopKInputs(concept_explainer=fitted, use_vocab=True)
        case(OptionError, "`inputs`")(lambda: vocabulary.interpret(SENTENCES))
        case(OptionError, "`latent_activations`")(lambda: vocabulary.interpret(latent_activations=torch.ones(3, 32)))
        for options in ({"k": 0}, {"ngrams": 0}, {"ngrams": (3, 1)}, {"min_count": 0}):
            case(OptionError, f"`{next(iter(options))}`")(lambda o=options: TopKInputs(concept_explainer=fitted, **o))


class TestGradients:
    def test_methods_and_steps_that_are_not(self, fitted):
        case(OptionError, "`method`", "'ablation'")(lambda: fitted.concept_output_attribution(SENTENCES, method="shapley"))
        case(OptionError, "`n_steps`")(lambda: fitted.concept_output_attribution(SENTENCES, n_steps=0))
        case(OptionError, "`batch_size`")(lambda: fitted.concept_output_gradient(SENTENCES, batch_size=0))

    def test_another_split_point(self, fitted):
        case(OptionError, "`split_point`", POINT)(lambda: fitted.concept_output_gradient(SENTENCES, split_point="bert.pooler"))

    def test_targets_for_other_inputs(self, fitted):
        case(TargetError, "2 for 8 inputs")(lambda: fitted.concept_output_gradient(SENTENCES, [[0], [1]]))

    def test_one_token_and_nothing_after_it(self):
        model, tokenizer = CAUSAL_LMS["gpt2"]()
        splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
        explainer = NeuronsAsConcepts(splitter).fit(torch.ones(1, 32))
        case(InputError, "`inputs[0]`", "one token")(lambda: explainer.concept_output_gradient([torch.tensor([7])]))

    def test_a_bridge_of_another_pooling(self, fitted):
        case(OptionError, "`pooling`", "'max'")(lambda: fitted.get_inputs_to_concepts_model("median"))

    def test_a_model_without_a_head(self, split):
        headless = ModelWithSplitPoints(split.model.bert, 0, tokenizer=split.tokenizer)
        explainer = NeuronsAsConcepts(headless).fit(torch.ones(1, 32))
        case(ModelError, "without logits")(lambda: explainer.concept_output_gradient(SENTENCES))
